"""The guards of finishing, claiming and rescuing beside others' transactions and clocks."""

from __future__ import annotations

from typing import Final

from tests.faults.mutants import Mutant

LOCKED = "tests/store/test_locked_rows.py::"
OFFERED = f"{LOCKED}test_a_finish_records_the_others_and_says_what_is_locked"
UNKNOWN = "tests/worker/loop/test_unknown_claims.py::"
ORPHANS = "tests/store/test_orphans.py::"
SESSIONS = "tests/worker/shared/test_own_sessions.py::"
CHILD_SLOT = "tests/worker/processes/test_child_slot.py::"
WATCH = "tests/worker/maintenance/test_lease_watch.py::"

MUTANTS: Final = (
    Mutant(
        "passing over locked rows in a success on PostgreSQL",
        (("store/dialects/postgresql.py", "ORDER BY id FOR NO KEY UPDATE SKIP LOCKED\n), succ",
          "ORDER BY id FOR NO KEY UPDATE\n), succ"),),
        (f"{OFFERED}[success-postgresql]",),
    ),
    Mutant(
        "passing over locked rows in a finish",
        (("store/dialects/base.py",
          "locked = self.database.skipping_locked(rows)",
          "locked = rows.select_for_update()"),),
        (f"{OFFERED}[retry-postgresql]",),
    ),
    Mutant(
        "telling what is locked from what is lost",
        (
            ("store/outcomes.py", "self.database.still_held(worker_id, left)", "[]"),
        ),
        (f"{OFFERED}[success-postgresql]", f"{OFFERED}[failure-postgresql]"),
    ),
    Mutant(
        "handing over what a claim could not give back",
        (("store/claims.py", "taken.unrecorded += [(claim, TOO", "_ = [(claim, TOO"),),
        (f"{LOCKED}test_a_claim_hands_over_what_it_could_not_give_back[postgresql]",),
    ),
    Mutant(
        "giving back what a failed claim may have taken before the goodbye",
        (("worker/loop/claim_loop.py", "if self._owns_nothing(me):", "if True:"),),
        (f"{UNKNOWN}test_a_drain_whose_second_claim_is_cancelled_leaves_nothing_claimed[sqlite]",),
    ),
    Mutant(
        "no goodbye while something may be claimed",
        (
            (
                "worker/loop/claim_loop.py",
                "        return self._unknown is Unknown.NOTHING\n",
                "        return True\n",
            ),
        ),
        (f"{UNKNOWN}test_a_worker_that_cannot_give_it_back_says_no_goodbye[sqlite]",),
    ),
    Mutant(
        "orphans are those of workers that are no more",
        (("store/workers.py", "orphans = claimed.filter(~Exists(alive))", "orphans = claimed"),),
        (f"{ORPHANS}test_what_a_worker_holds_that_is_there_stays[sqlite-live]",),
    ),
    Mutant(
        "only an unchanged lease is a dead worker's",
        (("store/workers.py", "unchanged is None or unchanged[w.pk] == w.lease", "True"),),
        (f"{ORPHANS}test_only_a_lease_that_is_still_the_same_is_taken_for_a_dead_workers[sqlite]",),
    ),
    Mutant(
        "a lease is watched for half of its length",
        (("worker/maintenance/maintenance.py", "first <= since", "True"),),
        (
            f"{WATCH}test_one_reading_is_no_proof",
            "tests/worker/maintenance/test_maintenance.py::test_one_reading_of_a_clock_rescues_nobody[sqlite]",
        ),
    ),
    Mutant(
        "an end to every wait of the worker's own session",
        (("worker/shared/connections.py", "if connection in _own:", "if False:"),),
        (f"{SESSIONS}test_every_wait_has_an_end_also_after_a_reconnection[sqlite]",),
    ),
    Mutant(
        "a pooler's session is not the worker's own",
        (("worker/shared/connections.py", "if pid != session.info.backend_pid:", "if False:"),),
        (f"{SESSIONS}test_a_poolers_session_is_left_as_it_is[postgresql-transaction]",),
    ),
    Mutant(
        "waiting for the database is not being stuck",
        (("worker/processes/child_slot.py", "not self.state.is_at_database and", ""),),
        (f"{CHILD_SLOT}test_a_loop_that_waits_for_the_database_is_not_stuck",),
    ),
)  # fmt: skip

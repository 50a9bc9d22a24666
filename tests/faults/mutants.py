"""The guards that `mutations` takes out, and the tests that must notice."""

from __future__ import annotations

from typing import Final, NamedTuple

Replacement = tuple[str, str, str]
"""A file of the package, a text that it has once, and what stands there instead."""


class Mutant(NamedTuple):
    """The package without one guard."""

    name: str
    replacements: tuple[Replacement, ...]
    tests: tuple[str, ...]


FENCES = "tests/store/test_fences.py::test_no_outcome_of_a_lost_claim_changes_anything"
HOLDS = "tests/store/test_fences.py::test_a_lost_claim_cannot_be_held"
CLAIM = "tests/store/test_claim.py::"
RESCUE = "tests/store/test_rescue.py::"
COUNTED = "tests/faults/test_counted_first.py::test_others_see_it_while_the_target_runs"
ENDURING = "tests/worker/loop/test_enduring.py::"
OUTAGE = (
    "tests/faults/test_outages.py::"
    "test_nobody_rescues_within_half_a_lease_of_its_own_connection_or_late_renewal"
)
UNWRITABLE = (
    "tests/faults/test_starved.py::test_nobody_is_taken_for_dead_whose_lease_nobody_could_renew"
)
KEPT_BACK = (
    "tests/store/test_leases.py::test_a_worker_whose_row_is_locked_does_not_keep_back_the_others"
)
STUCK = (
    "tests/faults/test_timeouts.py::"
    "test_its_process_ends_who_cannot_be_reached_and_the_neighbours_lose_no_count"
)
SUSPECTS = f"{CLAIM}test_suspects_are_left_by_ordinary_claims_and_taken_by_those_who_ask"
WAKING = "tests/worker/loop/test_wakeup.py::"
BEGUN = (
    "tests/worker/processes/test_child_slot.py::test_only_what_had_begun_counts_a_crash_of_its_own"
)
UNANSWERED = f"{ENDURING}test_a_claim_whose_answer_is_lost_is_given_back_and_made_again"
FROZEN = "tests/faults/test_frozen.py::test_nothing_is_begun_when_the_lease_may_have_run_out"
FROZEN_LOOP = (
    "tests/faults/test_frozen.py::test_nothing_that_waits_for_the_event_loop_is_begun_either"
)
OVERDUE = "tests/store/test_expire_overdue.py::"
RACES = "tests/store/test_rescue_races.py::"
DEBOUNCE = "tests/store/test_debounce.py::"
ONE_OF = "tests/store/test_one_of_races.py::"
LIMITS = "tests/store/test_limits_of_queues.py::"
SLOTS = "tests/store/test_slots.py::"

MUTANTS: Final = (
    Mutant(
        "the fence of a success on PostgreSQL",
        (("store/dialects/postgresql.py", "AND claim_seq = %(seq)s AND claimed", "AND claimed"),),
        (f"{FENCES}[postgresql-claimed_again]",),
    ),
    Mutant(
        "the holder of a success on PostgreSQL",
        (("store/dialects/postgresql.py", "(seq)s AND claimed_by = %(worker)s", "(seq)s"),),
        (f"{FENCES}[postgresql-given_to_another_worker_under_the_same_number]",),
    ),
    Mutant(
        "the status of a success on PostgreSQL",
        (
            (
                "store/dialects/postgresql.py",
                "\n        AND status || '' = 'pending'\n    ORDER BY id FOR",
                "\n    ORDER BY id FOR",
            ),
        ),
        (f"{FENCES}[postgresql-expired_by_a_person]",),
    ),
    Mutant(
        "the fence of a success on SQLite",
        (("store/dialects/sqlite.py", "AND claim_seq = %s AND", "AND %s > 0 AND"),),
        (f"{FENCES}[sqlite-claimed_again]",),
    ),
    Mutant(
        "the fence of a finish",
        (
            (
                "store/outcomes.py",
                "held is not None and held.claim_seq == claim.claim_seq",
                "held is not None",
            ),
            ("store/database.py", "claim_seq=claim_seq, claimed_by", "claimed_by"),
        ),
        (
            f"{FENCES}[sqlite-claimed_again]",
            f"{FENCES}[postgresql-claimed_again]",
        ),
    ),
    Mutant(
        "the holder of a finish",
        (
            (
                "store/database.py",
                "pk__in=ids, status=Status.PENDING, claimed_by=worker_id)",
                "pk__in=ids, status=Status.PENDING)",
            ),
            (
                "store/database.py",
                "claim_seq=claim_seq, claimed_by=worker_id,",
                "claim_seq=claim_seq,",
            ),
        ),
        (f"{FENCES}[sqlite-given_to_another_worker_under_the_same_number]",),
    ),
    Mutant(
        "the status of a finish",
        (
            (
                "store/database.py",
                "pk__in=ids, status=Status.PENDING, claimed_by=worker_id)",
                "pk__in=ids, claimed_by=worker_id)",
            ),
            (
                "store/database.py",
                "claimed_by=worker_id, status=Status.PENDING\n",
                "claimed_by=worker_id\n",
            ),
        ),
        (
            f"{FENCES}[sqlite-failed_by_a_person]",
            f"{HOLDS}[sqlite-failed_by_a_person]",
        ),
    ),
    Mutant(
        "the hold before an atomic target",
        (
            (
                "worker/execution/runner.py",
                "if not self.store.outcomes.hold(claim.worker_id, claim):",
                "if False:",
            ),
        ),
        (
            "tests/worker/execution/test_atomic.py::test_what_was_expired_in_flight_is_not_performed[sqlite]",
        ),
    ),
    Mutant(
        "the lease before a begin",
        (("worker/execution/runner.py", "if moment >= self.lease.holds_until:", "if False:"),),
        (f"{FROZEN}[sqlite]",),
    ),
    Mutant(
        "the lease before a begin in the event loop",
        (
            (
                "worker/executors/event_loop.py",
                "if moment >= self._lease.holds_until:",
                "if False:",
            ),
        ),
        (f"{FROZEN_LOOP}[sqlite]",),
    ),
    Mutant(
        "expires_at before a begin",
        (
            (
                "worker/execution/runner.py",
                "if claim.seconds_left is not None and claim.is_late(moment):",
                "if False:",
            ),
        ),
        ("tests/worker/loop/test_deadlines.py::test_what_expires_in_flight_is_not_begun[sqlite]",),
    ),
    Mutant(
        "SKIP LOCKED",
        (
            (
                "store/dialects/postgresql.py",
                "scheduled_at, id\n    FOR NO KEY UPDATE SKIP LOCKED",
                "scheduled_at, id\n    FOR NO KEY UPDATE",
            ),
        ),
        (f"{CLAIM}test_a_row_that_somebody_has_locked_is_skipped[postgresql]",),
    ),
    Mutant(
        "the claim's commit",
        (
            (
                "store/dialects/postgresql.py",
                "return self.database.in_autocommit(lambda: self.claim",
                (
                    "self.database.connection.set_autocommit(False); "
                    "return self.database.in_autocommit(lambda: self.claim"
                ),
            ),
        ),
        (
            f"{CLAIM}test_a_claim_is_committed_when_it_is_given_back[postgresql]",
            f"{COUNTED}[postgresql-tell_what_others_see]",
        ),
    ),
    Mutant(
        "the claim's own transaction",
        (("store/database.py", "refuse_callers_block(self.alias)\n        return", "return"),),
        (f"{CLAIM}test_a_claim_is_not_part_of_a_callers_transaction[postgresql]",),
    ),
    Mutant(
        "the count of a claim",
        (("store/dialects/postgresql.py", "    num_attempts = num_attempts + 1, ", "    "),),
        (
            f"{CLAIM}test_a_claim_is_counted_and_signed[postgresql]",
            f"{COUNTED}[postgresql-tell_what_others_see]",
        ),
    ),
    Mutant(
        "the number of a claim",
        (("store/dialects/postgresql.py", "claim_seq = claim_seq + 1", "claim_seq = claim_seq"),),
        (f"{FENCES}[postgresql-claimed_again]",),
    ),
    Mutant(
        "the worker's state in a claim on PostgreSQL",
        (
            (
                "store/dialects/postgresql.py",
                "WHERE EXISTS (SELECT 1 FROM me) AND status",
                "WHERE status",
            ),
        ),
        (f"{CLAIM}test_a_worker_that_is_not_live_claims_nothing[postgresql-rescued]",),
    ),
    Mutant(
        "the lock of the worker's row in a claim on PostgreSQL",
        (
            (
                "store/dialects/postgresql.py",
                "WHERE id = %(worker)s AND state = 'live' FOR KEY SHARE",
                "WHERE id = %(worker)s AND state = 'live'",
            ),
        ),
        (f"{RACES}test_a_claim_that_arrives_during_the_rescue_gets_nothing[postgresql]",),
    ),
    Mutant(
        "the worker's state in a claim on SQLite",
        (
            (
                "store/dialects/sqlite.py",
                "WHERE id = %(worker)s AND state = 'live')",
                "WHERE id = %(worker)s)",
            ),
        ),
        (f"{CLAIM}test_a_worker_that_is_not_live_claims_nothing[sqlite-dead]",),
    ),
    Mutant(
        "suspects apart",
        (("store/claimed.py", '"num_crashes = 0"', '"num_crashes >= 0"'),),
        (f"{SUSPECTS}[postgresql]",),
    ),
    Mutant(
        "the lease of whom is rescued",
        (
            (
                "store/workers.py",
                "filter(state=Worker.State.LIVE, lease__lt=DatabaseNow())",
                "filter(state=Worker.State.LIVE)",
            ),
        ),
        (f"{RESCUE}test_a_worker_whose_lease_holds_keeps_what_it_has[sqlite]",),
    ),
    Mutant(
        "the count of a crash",
        (("store/workers.py", "min(row.num_crashes + 1,", "min(row.num_crashes,"),),
        (f"{RESCUE}test_what_a_worker_held_is_pending_again_and_suspect[sqlite]",),
    ),
    Mutant(
        "the end of a poison pill",
        (("store/workers.py", "if crashes >= most:", "if False:"),),
        (f"{RESCUE}test_what_was_lost_too_often_is_failed_for_good[sqlite]",),
    ),
    Mutant(
        "the innocence of the unbegun",
        (
            (
                "worker/processes/reaper.py",
                "if seqs.get(row.id) != row.claim_seq:",
                "if False:",
            ),
        ),
        (f"{BEGUN}[11-ended by SIGSEGV]",),
    ),
    Mutant(
        "the innocence of who ran beside a timeout",
        (
            (
                "worker/processes/reaper.py",
                "if self._blames_others and",
                "if self.is_blameless and",
            ),
        ),
        (f"{STUCK}[postgresql-hang_in_c]",),
    ),
    Mutant(
        "the fence of a renewal",
        (
            (
                "store/workers.py",
                "update = partial(mine.update, lease",
                "update = partial(self.database.workers.filter(pk=worker_id).update, lease",
            ),
        ),
        ("tests/store/test_leases.py::test_a_worker_that_is_not_live_renews_nothing[sqlite-dead]",),
    ),
    Mutant(
        "what was claimed and never heard of",
        (
            (
                "worker/loop/claim_loop.py",
                "self.store.claims.release_unknown(me.pk, in_flight)",
                "Unknown.NOTHING",
            ),
        ),
        (f"{UNANSWERED}[postgresql]",),
    ),
    Mutant(
        "the time for others to renew after an outage",
        (
            (
                "worker/maintenance/maintenance.py",
                "max(0.0, max(self._connected, late_at) + settings().LEASE / 2 - now())",
                "0.0",
            ),
        ),
        (f"{OUTAGE}[sqlite-True-False]",),
    ),
    Mutant(
        "the time for others to renew after a late renewal",
        (
            (
                "worker/maintenance/maintenance.py",
                "max(self._connected, late_at)",
                "self._connected",
            ),
        ),
        (f"{UNWRITABLE}[sqlite]",),
    ),
    Mutant(
        "the skipping of a locked worker when leases are renewed",
        (
            (
                "store/workers.py",
                "mine.select_for_update(skip_locked=True)",
                "mine.select_for_update()",
            ),
        ),
        (f"{KEPT_BACK}[postgresql]",),
    ),
    Mutant(
        "the look once more before a sleep",
        (
            (
                "worker/loop/wakeup.py",
                "if self._is_sentinel or not was_beside or self._heard:",
                "if self._heard:",
            ),
        ),
        (
            f"{WAKING}test_one_that_begins_to_listen_looks_once_more_before_it_sleeps[postgresql]",
            f"{WAKING}test_one_beside_a_sentinel_looks_once_more_before_it_sleeps[postgresql]",
        ),
    ),
    Mutant(
        "the sparing of what is claimed when the overdue expire",
        (("store/retention.py", "status__in=LIVE, claimed_by=None)", "status__in=LIVE)"),),
        (
            f"{OVERDUE}test_a_claim_between_the_look_and_the_move_wins[postgresql]",
            f"{OVERDUE}test_only_what_is_live_unclaimed_and_past_its_time_expires[sqlite]",
        ),
    ),
    Mutant(
        "the sparing of a success that others wait for",
        (
            (
                "store/retention.py",
                "needed = self.dependencies.still_needed(found)",
                "needed = set()",
            ),
        ),
        ("tests/store/test_prune.py::test_what_others_wait_for_is_left[sqlite-age]",),
    ),
    Mutant(
        "a debounced call changes nothing that has begun",
        (("store/last_attempts.py", "filter(guard, pk=waiting)", "filter(pk=waiting)"),),
        (
            f"{DEBOUNCE}test_a_call_during_a_claim_makes_a_new_one[postgresql-debounced]",
            f"{DEBOUNCE}test_a_call_during_a_claim_makes_a_new_one[mariadb-throttled]",
        ),
    ),
    Mutant(
        "an adaptive call counts those before it under their lock",
        (("store/debounce.py", ".select_for_update(no_key=no_key)", ""),),
        (f"{DEBOUNCE}test_fifty_adaptive_calls_at_once_are_all_counted[postgresql]",),
    ),
    Mutant(
        "the period of a throttle",
        (
            (
                "store/debounce.py",
                "Greatest(_free_at(last, options.throttle), DatabaseNow())",
                "DatabaseNow()",
            ),
        ),
        (f"{DEBOUNCE}test_calls_and_claims_at_once_lose_nothing[postgresql-throttle]",),
    ),
    Mutant(
        "no worker begins what serves an open call",
        (("store/dialects/postgresql_insert.py", 'shared_lock = "FOR SHARE"', 'shared_lock = ""'),),
        (f"{ONE_OF}test_a_claim_passes_over_what_serves_an_open_call[postgresql-keep]",),
    ),
    Mutant(
        "a call is not served by what a worker has claimed meanwhile",
        (("store/insert.py", "AND claimed_by IS NULL {lock}", "{lock}"),),
        (
            f"{ONE_OF}test_a_call_that_meets_a_claim_looks_again[postgresql-keep]",
            f"{ONE_OF}test_a_call_that_meets_a_claim_looks_again[mariadb-again]",
        ),
    ),
    Mutant(
        "a place is held until its claim is over",
        (
            (
                "store/limits.py",
                "or running.get(slot.attempt_id) != slot.claim_seq",
                "or slot.attempt_id not in running or slot.claim_seq >= 0",
            ),
        ),
        (
            f"{LIMITS}test_no_more_than_its_concurrency_are_claimed[sqlite]",
            f"{SLOTS}test_perform_takes_a_place_too[sqlite]",
        ),
    ),
    Mutant(
        "who wakes waits for who parks",
        (
            (
                "store/limits.py",
                'self.database.skipping_locked(mine.filter(number=0).order_by("key"))',
                'mine.filter(number=0).order_by("key")',
            ),
        ),
        (f"{SLOTS}test_who_parks_while_the_place_becomes_free_is_woken[postgresql]",),
    ),
    Mutant(
        "one worker at a time claims of a queue with limits",
        (
            (
                "store/queues.py",
                "row = mine.select_for_update(skip_locked=True).first()\n        if",
                "row = mine.first()\n        if",
            ),
        ),
        (f"{LIMITS}test_a_worker_does_not_wait_for_another_that_claims_of_the_queue[postgresql]",),
    ),
    Mutant(
        "the pause in a claim",
        (
            (
                "store/claims.py",
                "AND NOT EXISTS ({row} is_paused)",
                "AND NOT EXISTS ({row} is_paused AND FALSE)",
            ),
        ),
        (f"{LIMITS}test_of_a_paused_queue_nothing_is_claimed[sqlite]",),
    ),
    Mutant(
        "the most that a bucket holds",
        (("limits.py", "min(float(self.burst), tokens +", "max(0.0, tokens +"),),
        (f"{LIMITS}test_its_rate_lets_a_burst_begin_and_then_one_after_the_other[sqlite]",),
    ),
)

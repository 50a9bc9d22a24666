"""The guards of what waits: for other attempts, for places of limit keys, for an empty hand."""

from __future__ import annotations

from typing import Final

from tests.faults.mutants import Mutant

REVISITS = "tests/store/test_revisits.py::"
SLOTS = "tests/store/test_slots.py::"
POLLER = "tests/worker/loop/test_poller.py::"
CLOSERS = f"{REVISITS}test_two_closers_of_one_group_leave_nobody_waiting"
RETRIED = f"{REVISITS}test_a_prerequisite_that_is_retried_in_an_open_transaction_is_not_waited_for"

BEHIND = "test_an_edge_that_is_closed_behind_the_back_of_another_closer_counts_once"
MOMENT = "test_a_finish_at_the_same_moment_as_the_commit_of_a_dependent_leaves_nobody_waiting"
AT_ONCE = "test_a_caller_that_finds_a_dependent_locked_tries_again_at_once"
HELD_BACK = "test_suspects_that_the_limits_of_their_queue_hold_back_are_not_seen"
EDGES_PASSED = "        passed |= {edge.prerequisite_id for"
UNSEEN = "        still_open = {e.pk for e in edges if e.attempt_id in dependents}\n"
OTHERS = "test_other_keys_do_not_wait_for_one_whose_places_are_locked"
FORGOTTEN = "test_a_place_that_is_taken_while_it_is_to_be_forgotten_stays"

MUTANTS: Final = (
    Mutant(
        "the coming back to a dependent that another closer locks",
        (
            (
                "store/dependencies.py",
                "passed |= {edge.prerequisite_id for edge in edges if edge.pk not in still_open}",
                "",
            ),
        ),
        (f"{CLOSERS}[postgresql]", f"{CLOSERS}[mariadb]"),
    ),
    Mutant(
        "the second look at an edge under the lock of its dependent",
        (
            (
                "store/dependencies.py",
                EDGES_PASSED,
                UNSEEN + EDGES_PASSED,
            ),
        ),
        (f"{REVISITS}{BEHIND}[postgresql]",),
    ),
    Mutant(
        "the skipping of a prerequisite that somebody retries",
        (
            (
                "store/dependencies.py",
                "dict(self.database.skipping_locked(locked).values_list",
                "dict(locked.select_for_update().values_list",
            ),
        ),
        (f"{RETRIED}[postgresql]",),
    ),
    Mutant(
        "the coming back to a prerequisite that somebody retries",
        (("store/dependencies.py", "set(over) - ended.keys()", "set()"),),
        (f"{RETRIED}[postgresql]",),
    ),
    Mutant(
        "the walk beyond an edge that is passed over",
        (
            (
                "store/dependencies.py",
                "edges[-1].pk if len(edges) == BATCH",
                "edges[-1].pk if len(closed) == BATCH",
            ),
        ),
        (f"{REVISITS}test_a_dependent_that_is_locked_keeps_back_no_other[postgresql]",),
    ),
    Mutant(
        "the coming back to a prerequisite that is being finished",
        (
            (
                "store/prerequisites.py",
                'return set(left.values_list("pk", flat=True))',
                "return set()",
            ),
        ),
        (f"{REVISITS}{MOMENT}[postgresql]",),
    ),
    Mutant(
        "a lock that a foreign key to the row is no obstacle to",
        (("store/database.py", "skip_locked=True, no_key=no_key", "skip_locked=True"),),
        (f"{REVISITS}test_a_row_that_refers_to_a_dependent_does_not_lock_it[postgresql]",),
    ),
    Mutant(
        "the tries of a caller",
        (("store/revisits.py", "() if self.is_loop else QUICK", "()"),),
        (f"{REVISITS}test_a_caller_that_finds_a_dependent_locked_tries_again_at_once[postgresql]",),
    ),
    Mutant(
        "the visits of a drain",
        (("worker/loop/poller.py", " and not self._store.database.revisits", ""),),
        (f"{POLLER}test_what_was_passed_over_is_waited_for[sqlite]",),
    ),
    Mutant(
        "the wake after a park without the lock",
        (
            (
                "store/limits.py",
                "            self.unpark({claim.limit_key for claim in keyed})\n",
                "",
            ),
        ),
        (f"{SLOTS}test_what_is_parked_without_the_locks_is_not_forgotten[postgresql]",),
    ),
    Mutant(
        "the tries of a claim that finds a limit key locked",
        (("store/limits.py", "for pause in (*PAUSES, None):", "for pause in (None,):"),),
        (f"{SLOTS}test_a_claim_tries_again_while_others_look_for_a_place[postgresql]",),
    ),
    Mutant(
        "the keeping of a key's places while one is held",
        (("store/limits.py", "if len(slots) == len(free[key])}", "}"),),
        (f"{SLOTS}test_no_place_of_a_key_goes_while_one_is_held[sqlite]",),
    ),
    Mutant(
        "the deletion of slots by their primary key alone",
        (("store/dialects/mysql.py", "def delete(", "def delete_by_join("),),
        (f"{SLOTS}{OTHERS}[mariadb]",),
    ),
    Mutant(
        "the second look at a place that is to be forgotten",
        (
            (
                "store/limits.py",
                "{k for k, mine in locked.items() if len(mine) == len(free[k])}",
                "locked",
            ),
        ),
        (f"{SLOTS}{FORGOTTEN}[postgresql]",),
    ),
    Mutant(
        "the limits of a suspect's queue",
        (
            (
                "worker/loop/poller.py",
                "are_due and self._store.queues.any_suspect_fits(",
                "are_due or bool(",
            ),
        ),
        (f"{POLLER}{HELD_BACK}[sqlite]",),
    ),
)

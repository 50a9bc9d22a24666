"""Guards on the caller's side: of what enqueues attempts, changes them, and waits for them."""

from __future__ import annotations

from typing import Final

from tests.faults.mutants import Mutant

RESOLVING = "tests/floors/test_targets_resolving.py::"
STREAMS = "tests/worker/test_streams.py::"
WAITING = "tests/worker/test_waiting.py::"
GATHERING = "tests/worker/test_gathering.py::"
TOKENS = "tests/store/test_tokens.py::"
IN_NO_CIRCLE = f"{TOKENS}test_callers_of_the_same_tokens_in_another_order_wait_in_no_circle"
NEVER_LOST = f"{TOKENS}test_what_the_callers_transaction_has_done_before_is_never_lost"
PEOPLE = "tests/store/test_people.py::"
REPLICAS = "tests/reports/test_replicas.py::"

MUTANTS: Final = (
    Mutant(
        "a row that was read is changed where the router writes",
        (("models/saving.py", 'return "_loaded" in row.__dict__ and', "return False and"),),
        (
            f"{REPLICAS}test_a_verb_of_a_row_goes_to_where_it_is_written[sqlite-expire]",
            f"{REPLICAS}test_who_waits_looks_there[sqlite]",
        ),
    ),
    Mutant(
        "what was enqueued stays where it was written",
        (("models/saving.py", ' and "created" not in row.__dict__', ""),),
        (f"{REPLICAS}test_what_was_enqueued_elsewhere_is_changed_there[enqueued]",),
    ),
    Mutant(
        "what a token finds stays where it was written",
        (("store/attempts.py", "            taken.created = False\n", "            pass\n"),),
        (f"{REPLICAS}test_what_was_enqueued_elsewhere_is_changed_there[found by its token]",),
    ),
    Mutant(
        "a row is read again from where it is written",
        (("models/attempt.py", "            using = alias\n", "            pass\n"),),
        (f"{REPLICAS}test_what_the_open_transaction_has_written_is_there[sqlite-debounce]",),
    ),
    Mutant(
        "the routers are asked about an instance that is not made",
        (
            (
                "instances.py",
                "probe = model.__new__(model)\n    probe._state = ModelState()\n",
                "probe = model()\n",
            ),
        ),
        (f"{RESOLVING}test_an_instance_whose_making_reads_a_relation_is_found[sqlite]",),
    ),
    Mutant(
        "only the row itself can be gone",
        (
            ("instances.py", "except rows.model.DoesNotExist", "except ObjectDoesNotExist"),
            (
                "instances.py",
                "import ValidationError",
                "import ObjectDoesNotExist, ValidationError",
            ),
        ),
        (f"{RESOLVING}test_a_relation_that_is_gone_is_not_taken_for_the_row[sqlite]",),
    ),
    Mutant(
        "a stream that can be begun anew is refused where a number is kept",
        (("streams.py", "if counted or (", "if ("),),
        (f"{STREAMS}test_a_queue_that_keeps_a_number_can_not_be_begun_anew[sqlite-succeeded]",),
    ),
    Mutant(
        "what another connection does not see is not gone",
        (("results/polling.py", "if poller.is_shared and not found", "if False and not found"),),
        (
            (
                "tests/worker/test_polling.py::"
                "test_what_another_connection_does_not_see_is_asked_for_by_ones_own[postgresql]"
            ),
        ),
    ),
    Mutant(
        "another poll takes the turn of one that hangs",
        (("results/polling.py", "PATIENCE: Final = 0.5", "PATIENCE: Final = 1e6"),),
        (
            (
                "tests/worker/test_polling.py::"
                "test_others_make_up_for_one_whose_look_takes_too_long[sqlite]"
            ),
        ),
    ),
    Mutant(
        "a poll that ended without leaving is forgotten",
        (
            ("results/polling.py", "self._polls: dict[ref[Poll], None]", "self._polls: dict"),
            (
                "results/polling.py",
                "self._polls[ref(poll, self._forget)] = None",
                "self._polls[ref(poll, self._forget)] = poll",
            ),
        ),
        ("tests/worker/test_polling.py::test_one_that_ends_without_leaving_is_forgotten[sqlite]",),
    ),
    Mutant(
        "a result that was not kept is no None",
        (("results/outcomes.py", "if self.succeeded and not self.keeps_result:", "if False:"),),
        (
            f"{WAITING}test_a_result_that_was_not_kept_is_no_none[sqlite-wait]",
            f"{GATHERING}test_a_result_that_was_not_kept_is_no_none_among_others[sqlite-gather]",
        ),
    ),
    Mutant(
        "tokens are written in the order of their keys",
        (
            (
                "store/attempts.py",
                "return sorted(attempts, key=",
                "return list(attempts) or sorted(attempts, key=",
            ),
        ),
        (
            f"{IN_NO_CIRCLE}[postgresql-several]",
            f"{IN_NO_CIRCLE}[postgresql-many_created]",
        ),
    ),
    Mutant(
        "a deadlock in a block that has done something is raised",
        (
            (
                "store/dialects/mysql_insert.py",
                'return self.database.fetch("SELECT @@in_transaction") == [(0,)]',
                "return True",
            ),
        ),
        (f"{NEVER_LOST}[mariadb-after_a_setting]",),
    ),
    Mutant(
        "verbs leave what is enqueued while they work",
        (("store/changes.py", ".filter(created_at__lte=self.database.now())", ""),),
        (f"{PEOPLE}test_what_is_enqueued_meanwhile_is_not_meant[sqlite-expire]",),
    ),
    Mutant(
        "over a join each row counts once",
        (("store/changes.py", 'Count("pk", distinct=True)', 'Count("pk")'),),
        (f"{PEOPLE}test_over_a_join_each_row_counts_once[sqlite]",),
    ),
    Mutant(
        "in a slice over a join each row counts once",
        (("store/changes.py", "list(dict.fromkeys(attempts", "list((attempts"),),
        (f"{PEOPLE}test_a_slice_over_a_join_counts_each_row_once[sqlite]",),
    ),
    Mutant(
        "a reason must be storable",
        (
            (
                "store/changes.py",
                "check_reason(reason)\n        return self._change",
                "return self._change",
            ),
        ),
        (f"{PEOPLE}test_a_reason_that_can_not_be_stored_is_refused[sqlite-none-expire]",),
    ),
)

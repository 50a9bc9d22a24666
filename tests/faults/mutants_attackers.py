"""What sealed values are bound to, and what forgets nothing of it."""

from __future__ import annotations

from typing import Final

from tests.faults.mutants import Mutant

ATTEMPTS = "tests/worker/execution/test_bound_attempts.py::"
RESULTS = "tests/worker/execution/test_bound_results.py::"
SCHEDULES = "tests/worker/maintenance/test_bound_schedules.py::"
OVERRIDES = "tests/roof/test_schedule_overrides.py::"
CHANGED = "tests/store/test_changed_schedules.py::"
FORMATS = "tests/worker/execution/test_other_formats.py::"
ROLLING = "tests/faults/test_rolling_deploy.py::"
TOKENS = "tests/worker/test_flow_tokens.py::"
COUNTED = (
    "tests/store/test_orphans.py::"
    "test_a_count_that_somebody_has_set_meanwhile_never_falls_below_nothing"
)
CHECKED = f"{RESULTS}test_a_check_that_somebody_has_set_to_succeeded_lets_nothing_follow"

MUTANTS: Final = (
    Mutant(
        "arguments are bound to the idempotence token",
        (("encryption/configured.py", "        call.idempotence_token,\n", "        None,\n"),),
        (f"{ATTEMPTS}test_a_payment_is_not_sent_again_under_another_token[sqlite]",),
    ),
    Mutant(
        "sealed values are bound to the realm",
        (("encryption/configured.py", "        realm_of(alias),\n", '        "",\n'),),
        (f"{FORMATS}test_a_row_that_was_copied_from_another_database_is_refused[sqlite]",),
    ),
    Mutant(
        "a schedules arguments are for schedules",
        (
            ("models/schedule.py", 'Context("schedule", self.id', 'Context("args", self.id'),
            ("models/schedule.py", ", definition=definition)", ")"),
        ),
        (
            f"{SCHEDULES}test_arguments_of_a_performed_attempt_make_no_schedule[sqlite]",
            f"{SCHEDULES}test_arguments_of_a_schedule_make_no_attempt[sqlite]",
        ),
    ),
    Mutant(
        "a schedules arguments are bound to its definition",
        (("models/schedule.py", ", definition=definition)", ")"),),
        (f"{SCHEDULES}test_what_two_schedules_have_swapped_enqueues_nothing[sqlite]",),
    ),
    Mutant(
        "only what is sealed is an operators",
        (("models/schedule.py", 'yield "changed by an operator"', "yield from ()"),),
        (f"{OVERRIDES}test_what_code_said_before_is_no_operators[sqlite]",),
    ),
    Mutant(
        "a schedules arguments are bound to its end",
        (("models/schedule.py", "if self.until is not None:", "if False:"),),
        (f"{CHANGED}test_what_it_is_bound_to_can_not_be_edited[sqlite-edited2]",),
    ),
    Mutant(
        "edges are compared with what arguments are bound to",
        (("results/prerequisites.py", "!= bound_to:", "== None:"),),
        (
            f"{RESULTS}test_what_was_altered_of_its_edges_lets_nobody_begin[sqlite]",
            f"{RESULTS}test_what_the_edges_of_two_dependents_have_swapped_calls_neither[sqlite]",
        ),
    ),
    Mutant(
        "a success that others wait for carries a result",
        (
            (
                "results/prerequisites.py",
                "if one.needs_result and one.status == Status.SUCCEEDED",
                "if False and one.status == Status.SUCCEEDED",
            ),
        ),
        (f"{CHECKED}[sqlite-never performed-any]", f"{CHECKED}[sqlite-failed-depends_on]"),
    ),
    Mutant(
        "a prerequisite has succeeded",
        (
            (
                "results/prerequisites.py",
                "if needs_success and one.status != Status.SUCCEEDED:",
                "if False:",
            ),
        ),
        (f"{RESULTS}test_a_check_that_runs_still_lets_nothing_follow[sqlite]",),
    ),
    Mutant(
        "no result of what is named as a cause",
        (("results/prerequisites.py", "if cause == one.id else replace", "if True else replace"),),
        (
            f"{RESULTS}test_what_is_named_as_the_cause_of_a_failure_hands_over_no_result[sqlite]",
        ),
    ),
    Mutant(
        "details are bound to the execution",
        (("encryption/configured.py", "        execution,\n    )", "        None,\n    )"),),
        (
            f"{ATTEMPTS}test_details_of_another_execution_of_the_same_attempt_do_not_open[sqlite]",
        ),
    ),
    Mutant(
        "an unknown version is nobodys forgery",
        (("encryption/ciphers.py", "return UnknownFormat(", "return Tampered("),),
        (f"{FORMATS}test_a_newer_version_of_the_bytes_waits_for_who_knows_it[sqlite]",),
    ),
    Mutant(
        "a changed header of ours is a forgery",
        (("encryption/ciphers.py", "in product(self.formats,", "in product((),"),),
        (f"{FORMATS}test_what_this_release_made_is_no_newer_version_by_its_first_byte[sqlite]",),
    ),
    Mutant(
        "rotate-keys binds arguments of version 1",
        (
            (
                "store/rotation.py",
                'if column == "args" and may_be_unbound(stored):',
                "if False:",
            ),
        ),
        (f"{ROLLING}test_what_rotate_keys_has_sealed_anew_is_performed[sqlite]",),
    ),
    Mutant(
        "dependents are bound anew when they are written again",
        (
            (
                "store/attempts.py",
                "_seal(row for row in rows if row.edges)",
                "_seal(())",
            ),
        ),
        (
            f"{TOKENS}test_one_that_is_gone_when_the_transaction_is_done_again[sqlite]",
        ),
    ),
    Mutant(
        "dependents are bound to the row that has the token",
        (("store/prerequisites.py", "            seal(row, bound_to)\n", ""),),
        (
            f"{TOKENS}test_a_group_has_members_that_are_there_and_new_ones[sqlite]",
        ),
    ),
    Mutant(
        "no count of executions below zero",
        (("store/expressions.py", 'Greatest(F("num_attempts") - 1, 0)', 'F("num_attempts") - 1'),),
        (
            f"{COUNTED}[sqlite-0-Snoozed(delay=1.0)]",
        ),
    ),
)  # fmt: skip

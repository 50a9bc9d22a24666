"""The guards that keep large values out of the process, and the tests that must notice."""

from __future__ import annotations

from typing import Final

from tests.faults.mutants import Mutant

SIZES = "tests/store/test_sizes.py::"
FETCHED = f"{SIZES}test_what_is_too_large_is_not_fetched_by_any_query"
ROTATED = "tests/roof/test_rotate_large_values.py::"
NAMED = f"{ROTATED}test_one_that_names_the_key_that_is_to_go_keeps_it"
SUMS = f"{ROTATED}test_many_that_are_just_within_the_limit_do_not_add_up"
SHOWN = "tests/roof/test_large_values_shown.py::"

MUTANTS: Final = (
    Mutant(
        "a value is measured before it is fetched",
        (("models/large_values.py", "CASE WHEN {size} > {most}", "CASE WHEN {size} < 0"),),
        (
            f"{FETCHED}[sqlite-Attempt.reason]",
            f"{FETCHED}[postgresql-Failure.details]",
            f"{FETCHED}[mariadb-Worker.queues]",
            f"{SHOWN}test_a_large_reason_is_told_on_the_page_and_hides_no_list[sqlite-failed]",
            f"{SHOWN}test_large_details_are_told_on_both_pages[sqlite]",
            f"{ROTATED}test_what_becomes_large_meanwhile_is_not_fetched[sqlite]",
        ),
    ),
    Mutant(
        "a text in a column of bytes is measured by its bytes",
        (
            (
                "models/large_values.py",
                "CASE typeof({0}) WHEN 'blob' THEN length({0}) ELSE length(CAST({0} AS BLOB)) END",
                "length({0})",
            ),
            (
                "models/large_values.py",
                '"octet_length({0})" if sqlite3',
                '"length({0})" if sqlite3',
            ),
        ),
        (f"{SIZES}test_a_text_of_sqlite_is_measured_past_its_first_nul[sqlite]",),
    ),
    Mutant(
        "what stands in for a value isn't saved",
        (
            (
                "models/fields.py",
                "if size_of_unfetched(value) is not None:",
                "if False:",
            ),
        ),
        (f"{SIZES}test_a_schedule_that_was_not_fetched_is_not_written_back[sqlite]",),
    ),
    Mutant(
        "arguments that weren't fetched are told from sealed ones",
        (
            (
                "models/attempt.py",
                'require_fetched(self.args, str(self.pk), "raise it to read them.")',
                "pass",
            ),
        ),
        (f"{SIZES}test_what_was_not_fetched_is_told_and_never_saved[sqlite-args-method_args]",),
    ),
    Mutant(
        "a result that wasn't fetched is told from a sealed one",
        (
            (
                "models/attempt.py",
                "refuse_large(self.pk, size_of_unfetched(self.sealed_result))",
                "pass",
            ),
        ),
        (
            (
                f"{SIZES}test_what_was_not_fetched_is_told_and_never_saved"
                "[sqlite-sealed_result-stored_result]"
            ),
        ),
    ),
    Mutant(
        "a reason has a limit",
        (("models/validation.py", "> MAX_REASON_BYTES:", "> 10 * MAX_REASON_BYTES:"),),
        (f"{SIZES}test_a_reason_has_a_limit[sqlite-fail]",),
    ),
    Mutant(
        "the winner of a token is measured on MariaDB",
        (("store/dialects/mysql_insert.py", '", ".join(self.columns.selected)', '"*"'),),
        (f"{SIZES}test_the_winner_of_a_token_is_read_without_it[mariadb]",),
    ),
    Mutant(
        "a long reason names no key",
        (("store/missing_keys.py", ".filter(size__lte=LONGEST_REASON)", ""),),
        (f"{SIZES}test_stats_take_no_large_reason_for_a_key[postgresql]",),
    ),
    Mutant(
        "what is over its limit has no header",
        (
            (
                "store/expressions.py",
                "CASE WHEN {octets(vendor, column)} > {most}",
                "CASE WHEN 1 = 0",
            ),
            ("store/expressions.py", " AND length({column}) <= {most}", ""),
        ),
        (
            f"{ROTATED}test_plain_values_that_are_too_large_are_neither_listed_nor_sealed[sqlite]",
            (
                f"{ROTATED}test_plain_values_that_are_too_large_are_neither_listed_nor_sealed"
                "[postgresql]"
            ),
        ),
    ),
    Mutant(
        "a large value is counted by the key that it names",
        (("store/rotation.py", "key_id = key_id_of(header) or UNNAMED", "key_id = UNNAMED"),),
        (f"{NAMED}[sqlite-arguments]", f"{NAMED}[postgresql-failure]"),
    ),
    Mutant(
        "a large value is told",
        (
            (
                "store/rotation.py",
                "found.unreadable.append(Unreadable(key_id, value.where, size))",
                "pass",
            ),
        ),
        (
            f"{NAMED}[sqlite-schedule]",
            (
                f"{ROTATED}test_it_is_told_and_not_fetched_and_all_others_are_sealed_anew"
                "[sqlite-result]"
            ),
        ),
    ),
    Mutant(
        "nobody knows by which key a project's own cipher sealed a large value",
        (
            (
                "management/commands/_rotation.py",
                "if self.too_large and not self._resealer.reads_headers:",
                "if False:",
            ),
        ),
        (f"{ROTATED}test_of_a_cipher_of_ones_own_nothing_tells_that_the_key_may_go[sqlite]",),
    ),
    Mutant(
        "a rotation fetches no more at once than is good",
        (("batches.py", "whole + own > size", "False"),),
        (
            f"{SUMS}[sqlite-attempts]",
            f"{SUMS}[postgresql-failures]",
            f"{SUMS}[mariadb-schedules]",
        ),
    ),
    Mutant(
        "a rotation looks at all failures of an attempt",
        (
            (
                "store/rotation.py",
                "page = list(rows.filter(pk__gt=page[-1].pk)[:limit])",
                "page = []",
            ),
        ),
        (f"{SUMS}[sqlite-failures]",),
    ),
)

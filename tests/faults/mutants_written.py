"""The guards against what somebody writes into rows: names, moments and plain values."""

from __future__ import annotations

from typing import Final

from tests.faults.mutants import Mutant

BROKEN = "tests/roof/test_admin_broken_rows.py::"
REAPER = "tests/worker/processes/test_reaper_policies.py::"
IMPORT = "tests/floors/test_imports.py::"
LOOKUP = "tests/roof/test_admin_lookups.py::"
PLAIN = "tests/roof/test_seal_plaintext.py::"
PRINTED = "tests/roof/test_printed_names.py::"
SCHEDULE = "tests/roof/test_admin_schedules.py::"
TENANTS = "tests/roof/test_admin_tenants.py::"
LIST = "/admin/async_attempts/attempt/"
NOT_IMPORTED = "test_a_name_that_somebody_wrote_into_the_row_is_not_imported"
NOT_GIVEN = "test_another_target_is_not_given_the_arguments_that_nobody_may_read"

MUTANTS: Final = (
    Mutant(
        "the admin imports nothing that a row names",
        (
            (
                "admin/explanation.py",
                "policy = known_policy(attempt.target, attempt.method_name)\n    return",
                "policy = target_named(attempt.target, attempt.method_name).policy\n    return",
            ),
            (
                "admin/explanation.py",
                "allowed, known_policy",
                "allowed, known_policy, target_named",
            ),
        ),
        (f"{BROKEN}test_no_page_imports_what_a_row_names[sqlite-tests.shop.exiting]",),
    ),
    Mutant(
        "a reaper imports only what it has authenticated",
        (
            (
                "worker/processes/reaper.py",
                "        open_sealed(row.args, context_of",
                "        (row.args, context_of",
            ),
        ),
        (f"{REAPER}{NOT_IMPORTED}[sqlite-tests.shop.never_imported]",),
    ),
    Mutant(
        "a script that exits when it is imported ends nothing",
        (("imports.py", "except BaseException as error", "except Exception as error"),),
        (f"{IMPORT}test_a_script_that_exits_when_it_is_imported_is_no_target_and_ends_nothing",),
    ),
    Mutant(
        "a claim is printed on one line",
        (
            (
                "store/claimed.py",
                "{printable(f'{self.target}.{self.method_name}')}",
                "{self.target}.{self.method_name}",
            ),
        ),
        (f"{PRINTED}test_a_claims_log_line_is_one_line[sqlite-method_name]",),
    ),
    Mutant(
        "kept arguments go to no other target",
        (("admin/schedule_forms.py", 'given.get("target") != self.instance.target', "False"),),
        (f'{SCHEDULE}{NOT_GIVEN}[["secret-canary"]]',),
    ),
    Mutant(
        "failures are those of the attempts that are shown",
        (("admin/failures.py", "or not is_narrowed(attempts)", "or is_narrowed(attempts)"),),
        (f"{TENANTS}test_the_list_of_failures_has_those_of_the_attempts_that_are_shown[sqlite]",),
    ),
    Mutant(
        "what is sealed is not compared",
        (("admin/rows.py", "if isinstance(field, BinaryField):", "if field is None:"),),
        (f"{LOOKUP}test_what_is_sealed_is_not_compared[sqlite-x-{LIST}-args__gt]",),
    ),
    Mutant(
        "what can't be read hides no other row",
        (
            (
                "admin/rows.py",
                "        found = list(rows)\n    except UNREADABLE",
                "        return list(rows)\n    except KeyError",
            ),
        ),
        (f"{BROKEN}test_moments_that_python_does_not_have_hide_no_page[postgresql-infinity]",),
    ),
    Mutant(
        "plain values are sealed only in final states",
        (("store/plaintext.py", "attempt.status in FINAL or name", "attempt.status or name"),),
        (f"{PLAIN}test_what_has_not_ended_is_left_unless_its_target_is_named[sqlite-flags0]",),
    ),
    Mutant(
        "plain values are sealed only if they are old",
        (("store/plaintext.py", "attempt.created_at < self.until and", "self.until and"),),
        (f"{PLAIN}test_what_was_enqueued_after_the_moment_is_left[sqlite]",),
    ),
)

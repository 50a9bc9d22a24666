"""The guards of the admin's verbs and of what it says of workers."""

from __future__ import annotations

from typing import Final

from tests.faults.mutants import Mutant

CONFIRMATION = "tests/roof/test_admin_confirmation.py::"

MUTANTS: Final = (
    Mutant(
        "a retry in the admin leaves what expired",
        (("admin/verbs.py", "attempts.exclude(status__in=unasked) if unasked else ", ""),),
        (f"{CONFIRMATION}test_expired_attempts_are_retried_only_if_asked_for[postgresql]",),
    ),
    Mutant(
        "a retry in the admin asks first",
        (
            (
                "admin/confirmation.py",
                'ALWAYS_ASKED: Final = frozenset({"retry"})',
                "ALWAYS_ASKED = ()",
            ),
        ),
        (f"{CONFIRMATION}test_a_retry_of_ticked_rows_is_asked_about_as_one_of_all_that_match[0]",),
    ),
    Mutant(
        "a verb in the admin leaves what came after the question",
        (
            (
                "admin/verbs.py",
                "attempts.filter(pk__lte=id_or_refuse(newest))",
                "attempts.filter(pk__gte=UUID(int=0))",
            ),
            ("admin/verbs.py", "from typing import", "from uuid import UUID\nfrom typing import"),
        ),
        (f"{CONFIRMATION}test_what_arrives_while_it_is_asked_is_not_counted",),
    ),
    Mutant(
        "a worker is live by its lease",
        (
            (
                "store/statistics.py",
                "state=Worker.State.LIVE, lease__gte=DatabaseNow()",
                "state='live'",
            ),
        ),
        ("tests/roof/test_admin_workers.py::test_the_figures_count_who_holds_a_lease[postgresql]",),
    ),
)

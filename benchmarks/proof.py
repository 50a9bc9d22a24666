"""That every attempt was performed exactly once; a figure counts for nothing without it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from django.core.management.color import no_style
from django.db import connections
from django.db.models import Count

from async_attempts import Attempt
from async_attempts.lifecycle import Status
from async_attempts.models import Failure

FACTS = ("status", "num_attempts", "num_crashes", "claim_seq")
ONCE = (Status.SUCCEEDED.value, 1, 0)


class NotExactlyOnceError(Exception):
    """An attempt is missing, was performed twice, or failed."""


class Proof:
    """What was checked on one database.

    `claimed_again`: of the `attempts`, those that a worker had claimed and given back before they
    began, as it does when something keeps it from going on for half a second. They have a second
    claim, and one execution all the same.
    """

    def __init__(self, alias: str) -> None:
        self.alias = alias
        self.attempts = 0
        self.claimed_again = 0

    def performed(self, attempts: int) -> None:
        """Let a worker perform what a workload has written, check that, and clear it away."""
        self.run_worker()
        self.check(attempts)
        self.empty()

    def run_worker(self) -> None:
        """Drain the database by the real worker, a process of its own with default options."""
        command = [sys.executable, "-m", "django", "run_attempts", "--drain", "--verbosity", "0"]
        root = Path(__file__).resolve().parents[1]
        subprocess.run([*command, "--database", self.alias], check=True, cwd=root)  # noqa: S603 - our own

    def check(self, attempts: int) -> None:
        """Raises NotExactlyOnceError unless there are `attempts`, each performed exactly once."""
        rows = Attempt.objects.using(self.alias).order_by()
        found = list(rows.values_list(*FACTS).annotate(rows=Count("pk")))
        failures = Failure._base_manager.using(self.alias).count()
        once = sum(number for *facts, _, number in found if tuple(facts) == ONCE)
        written = sum(number for *_, number in found)
        if (once, written, failures) != (attempts, attempts, 0):
            raise NotExactlyOnceError(
                f"{self.alias}: of {attempts} attempts {written} are there, {once} performed "
                f"exactly once, with {failures} failures; {FACTS} and their rows are {found}."
            )
        self.attempts += attempts
        self.claimed_again += sum(number for *_, claims, number in found if claims != 1)

    def empty(self) -> None:
        """Make every table as good as new."""
        connection = connections[self.alias]
        tables = connection.introspection.django_table_names(
            only_existing=True, include_views=False
        )
        connection.ops.execute_sql_flush(connection.ops.sql_flush(no_style(), tables))

"""That every attempt was performed exactly once; a figure counts for nothing without it."""

from __future__ import annotations

from uuid import UUID

from django.apps import apps
from django.core.management.color import no_style
from django.db import connections
from django.db.models import Count, Model

from async_attempts import Attempt
from async_attempts.lifecycle import Status
from async_attempts.models import Failure

from .environment import environment_of
from .models import Order
from .processes import run, run_attempts

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

    def run_worker(self, *options: str) -> None:
        """Drain the database by the real worker, with default options but for these."""
        run([run_attempts(self.alias, "--drain", *options)], environment_of(self.alias))

    def check(self, attempts: int, *, since: UUID | None = None) -> None:
        """Raises NotExactlyOnceError unless there are `attempts`, each performed exactly once.

        `since`: the id of the first; those before it don't count.
        """
        rows = Attempt.objects.using(self.alias).order_by()
        if since:
            rows = rows.filter(pk__gte=since)
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
        """Make every table of ours as good as new."""
        connection = connections[self.alias]
        ours: list[type[Model]] = [*apps.get_app_config("async_attempts").get_models(), Order]
        tables = [model._meta.db_table for model in ours]
        connection.ops.execute_sql_flush(connection.ops.sql_flush(no_style(), tables))

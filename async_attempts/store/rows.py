"""What every part of the store stands on: one database, its attempts, its clock."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar
from uuid import UUID

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import DateTimeField, ExpressionWrapper, QuerySet

from ..lifecycle import Status
from ..models import AttemptQuerySet, DatabaseNow, Failure, Worker, get_attempt_model
from .transactions import redone, whole

_T = TypeVar("_T")


class Rows:
    """One database's attempts and workers."""

    def __init__(self, alias: str) -> None:
        self.alias = alias
        self.model = get_attempt_model()

    @property
    def connection(self) -> BaseDatabaseWrapper:
        return connections[self.alias]

    @property
    def attempts(self) -> AttemptQuerySet[Any]:
        # Not by a manager of the model: a project's own may hide rows.
        return AttemptQuerySet(self.model, using=self.alias)

    @property
    def workers(self) -> QuerySet[Worker]:
        return Worker._base_manager.using(self.alias)

    @property
    def failures(self) -> QuerySet[Failure]:
        return Failure._base_manager.using(self.alias)

    def whole(self, work: Callable[[], _T]) -> _T:
        """Do `work` in a transaction of its own; see `transactions.whole`."""
        return whole(self.alias, work)

    def quoted(self, field_name: str) -> str:
        """The column of one of the attempt model's fields, for raw SQL."""
        column = self.model._meta.get_field(field_name).column  # type: ignore[union-attr]
        return str(self.connection.ops.quote_name(str(column)))

    def redone(self, work: Callable[[], _T]) -> _T:
        """Do `work`, a statement in autocommit; see `transactions.redone`."""
        return redone(self.alias, work)

    def isolation_problem(self) -> str | None:
        """What is wrong with this connection's transactions for a worker, and the remedy."""
        return None

    def live_worker(self, worker_id: UUID) -> bool:
        """Whether this worker hasn't been rescued; keeps anybody from rescuing it until commit."""
        mine = self.workers.filter(pk=worker_id, state=Worker.State.LIVE)
        return bool(list(mine.select_for_update().values_list("pk")))


def seconds_from_now(seconds: float) -> Any:
    """The database's now and `seconds` more, as an expression."""
    if not seconds:
        return DatabaseNow()
    later = DatabaseNow() + timedelta(seconds=seconds)
    return ExpressionWrapper(later, output_field=DateTimeField())


def ended(status: Status, **columns: Any) -> dict[str, Any]:
    """The columns of an attempt that ends now."""
    return {"status": status, "completed_at": DatabaseNow(), **columns}


def require_read_committed(alias: str, level: str) -> str | None:
    """What is wrong with the isolation level `level` ("read committed") for a worker."""
    if level.lower() == "read committed":
        return None
    return (
        f"DATABASES[{alias!r}]: a worker needs transactions at READ COMMITTED, not "
        f"{level.upper()}; leave OPTIONS['isolation_level'] out for the worker's process."
    )


def needs_immediate(alias: str) -> str:
    """What is wrong with SQLite's own transaction mode."""
    return (
        f"DATABASES[{alias!r}]: SQLite needs OPTIONS['transaction_mode'] = 'IMMEDIATE': else a "
        "transaction that reads and then writes fails at once when another one writes."
    )

"""One database: its connection, its tables, its clock, and the transactions of the store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, TypeVar
from uuid import UUID

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Model, QuerySet

from ..lifecycle import Status
from ..models import (
    AttemptQuerySet,
    DatabaseNow,
    Dependency,
    Failure,
    Queue,
    Schedule,
    Slot,
    Tally,
    Worker,
    get_attempt_model,
)
from ..models.bounds import MAX_METADATA_BYTES
from ..models.large_values import as_bytes, json_text, octets
from .claimed import COLUMNS, ORDER, Claim
from .notifications import pass_gate
from .revisits import Revisits
from .transactions import in_transaction, refuse_callers_block, retry_on_conflict

_T = TypeVar("_T")
_Rows = TypeVar("_Rows", bound=QuerySet[Any])


class Database:
    """The tables of one database, read and written past managers, which may hide rows.

    `revisits`: the rows that were passed over because another transaction locks them.
    """

    def __init__(self, alias: str, around: Callable[[str], AbstractContextManager[Any]]) -> None:
        """`around`: makes the context in which the statements of a transaction are executed."""
        self.alias = alias
        self.model = get_attempt_model()
        self.revisits = Revisits()
        self._around = around

    @property
    def connection(self) -> BaseDatabaseWrapper:
        """This thread's connection."""
        return connections[self.alias]

    @property
    def vendor(self) -> str:
        """The kind of database: postgresql, mysql (MariaDB too), sqlite."""
        return str(self.connection.vendor)

    @property
    def attempts(self) -> AttemptQuerySet[Any]:
        return AttemptQuerySet(self.model, using=self.alias)

    @property
    def workers(self) -> QuerySet[Worker]:
        return Worker._base_manager.using(self.alias)

    @property
    def failures(self) -> QuerySet[Failure]:
        return Failure._base_manager.using(self.alias)

    @property
    def dependencies(self) -> QuerySet[Dependency]:
        return Dependency._base_manager.using(self.alias)

    @property
    def queues(self) -> QuerySet[Queue]:
        return Queue._base_manager.using(self.alias)

    @property
    def slots(self) -> QuerySet[Slot]:
        return Slot._base_manager.using(self.alias)

    @property
    def schedules(self) -> QuerySet[Schedule]:
        return Schedule._base_manager.using(self.alias)

    @property
    def tallies(self) -> QuerySet[Tally]:
        return Tally._base_manager.using(self.alias)

    def rows(self, model: type[Model]) -> QuerySet[Any]:
        """All rows of one of the package's models."""
        return self.attempts if model is self.model else model._base_manager.using(self.alias)

    def claimed_by(self, worker_id: UUID, claims: Sequence[Claim]) -> AttemptQuerySet[Any]:
        """The rows of these attempts that the worker still holds, under whatever claim."""
        ids = [claim.id for claim in claims]
        return self.attempts.filter(pk__in=ids, status=Status.PENDING, claimed_by=worker_id)

    def fenced(self, worker_id: UUID, claim_seq: int, ids: Sequence[UUID]) -> AttemptQuerySet[Any]:
        """The rows that the worker still holds under the claim of this number."""
        return self.attempts.filter(
            pk__in=ids, claim_seq=claim_seq, claimed_by=worker_id, status=Status.PENDING
        )

    def still_held(self, worker_id: UUID, claims: Sequence[Claim]) -> list[Claim]:
        """Return those of these claims that still hold, whether or not their rows are locked."""
        seqs = dict(self.claimed_by(worker_id, claims).values_list("id", "claim_seq"))
        return [claim for claim in claims if seqs.get(claim.id) == claim.claim_seq]

    def in_transaction(self, work: Callable[[], _T]) -> _T:
        """Do `work` in a transaction of its own; see `transactions.in_transaction`."""
        with self._around(self.alias):
            return in_transaction(self.alias, work)

    def retry_on_conflict(self, work: Callable[[], _T]) -> _T:
        """Do `work`, again if it collides; see `transactions.retry_on_conflict`."""
        return retry_on_conflict(self.alias, work)

    def in_autocommit(self, work: Callable[[], _T]) -> _T:
        """Do `work`, a single statement, outside of any caller's transaction."""
        refuse_callers_block(self.alias)
        return retry_on_conflict(self.alias, work)

    def skipping_locked(self, rows: _Rows) -> _Rows:
        """Return `rows`, to be locked when they are read, without those that others lock.

        A row that refers to one of them, in a transaction that is still open, is no such lock.
        """
        no_key = self.connection.features.has_select_for_no_key_update
        return rows.select_for_update(skip_locked=True, no_key=no_key)

    def lock_free(self, rows: QuerySet[Any]) -> list[Any]:
        """Lock those of `rows` that nobody else locks, in the order of their keys; return these."""
        return list(self.skipping_locked(rows.order_by("pk")).values_list("pk", flat=True))

    def fetch(self, sql: str, params: Sequence[Any] | None = None) -> list[Any]:
        """Execute one statement; return the rows that it answers."""
        with self.connection.cursor() as cursor:
            cursor.execute(sql, params)
            return list(cursor.fetchall())

    def notify_due(self) -> None:
        """Wake idle workers when the open transaction commits: something may be due earlier."""
        pass_gate(self.connection)

    def now(self) -> datetime:
        """Return the database's clock, an aware datetime."""
        sql, params = DatabaseNow().on(self.vendor)
        [(value,)] = self.fetch(f"SELECT {sql}", params)
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)

    def quoted(self, field_name: str) -> str:
        """Return the column of one of the attempt model's fields, for raw SQL."""
        field: Any = self.model._meta.get_field(field_name)
        return str(self.connection.ops.quote_name(str(field.column)))

    def table(self, model: type[Model]) -> str:
        """Return the table of a model, for raw SQL."""
        return str(self.connection.ops.quote_name(model._meta.db_table))

    def stored(self, attempt_id: UUID) -> Any:
        """Return an id as the driver takes it: MariaDB has a type for it, MySQL has not."""
        return self.model._meta.pk.get_db_prep_value(attempt_id, self.connection)

    @cached_property
    def names(self) -> dict[str, str]:
        """The tables, the columns that a claim reads, and those it is ordered by, for raw SQL."""
        quote = self.connection.ops.quote_name
        return {
            "attempt": self.table(self.model),
            "worker": self.table(Worker),
            "schedule": self.table(Schedule),
            "queue": self.table(Queue),
            "dependency": self.table(Dependency),
            # MySQL has reserved it.
            "condition": quote("condition"),
            "columns": ", ".join(map(self._claimed_column, COLUMNS)),
            "order": ", ".join(self.quoted(name) for name in ORDER),
        }

    def _claimed_column(self, name: str) -> str:
        """SQL for a column that a claim reads: null in place of what is too large to be fetched."""
        column, vendor = self.quoted(name), self.vendor
        if name == "args":
            found = as_bytes(vendor, column)
            return f"CASE WHEN {octets(vendor, column)} <= %(most_bytes)s THEN {found} END"
        if name == "metadata":
            text, most = json_text(vendor, column), MAX_METADATA_BYTES
            return f"CASE WHEN {octets(vendor, text)} <= {most} THEN {text} END"
        return column

    def size_of(self, attempt_id: UUID, column: str) -> int:
        """Return the bytes that one column of an attempt has; 0 of an attempt that is gone."""
        value = self.quoted(column)
        if column == "metadata":
            value = json_text(self.vendor, value)
        sql = f"SELECT {octets(self.vendor, value)} FROM {self.names['attempt']} WHERE id = %s"
        return sum(int(size or 0) for (size,) in self.fetch(sql, [self.stored(attempt_id)]))


def placeholders(values: Iterable[Any]) -> str:
    """Return a placeholder for each of these values, for raw SQL."""
    return ", ".join("%s" for _ in values)


def as_uuid(stored: Any) -> Any:
    """Return an id, or None, of what a cursor of any of the drivers gives for it."""
    return stored if stored is None or isinstance(stored, UUID) else UUID(str(stored))

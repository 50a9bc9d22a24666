"""What every part of the store stands on: one database, its attempts, its clock."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, Final, TypeVar
from uuid import UUID

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import (
    BinaryField,
    Case,
    DateTimeField,
    ExpressionWrapper,
    F,
    Func,
    IntegerField,
    QuerySet,
    Value,
    When,
)
from django.db.models.functions import Greatest, Substr
from django.db.models.lookups import GreaterThan

from ..encryption import HEADER_BYTES
from ..lifecycle import Status
from ..models import (
    AttemptQuerySet,
    DatabaseNow,
    Failure,
    Pace,
    Queue,
    Schedule,
    Tally,
    Worker,
    get_attempt_model,
)
from ..models.bounds import MAX_METADATA_BYTES
from ..models.sizes import as_bytes, json_text, octets
from .claims import COLUMNS, ORDER
from .gate import pass_gate
from .revisits import Revisits
from .transactions import redone, whole

UNCOUNTED: Final = Greatest(F("num_attempts") - 1, 0)
"""The number of executions without the one that a claim has counted; a person may have set it to 0
meanwhile."""

_T = TypeVar("_T")
_Rows = TypeVar("_Rows", bound=QuerySet[Any])


class RowId(Func):
    """SQLite's own key of a row, which is a number whatever its columns hold."""

    template = "rowid"
    arity = 0
    output_field = IntegerField()


class Rows:
    """One database's attempts and workers."""

    def __init__(self, alias: str) -> None:
        self.alias = alias
        self.model = get_attempt_model()
        self.revisits = Revisits()

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

    @property
    def queues(self) -> QuerySet[Queue]:
        return Queue._base_manager.using(self.alias)

    @property
    def paces(self) -> QuerySet[Pace]:
        return Pace._base_manager.using(self.alias)

    @property
    def tallies(self) -> QuerySet[Tally]:
        return Tally._base_manager.using(self.alias)

    @property
    def by_claim_index(self) -> str:
        """SQL that makes a statement use the claim index, where the database has to be told."""
        return ""

    def whole(self, work: Callable[[], _T]) -> _T:
        """Do `work` in a transaction of its own; see `transactions.whole`."""
        return whole(self.alias, work)

    def quoted(self, field_name: str) -> str:
        """The column of one of the attempt model's fields, for raw SQL."""
        field: Any = self.model._meta.get_field(field_name)
        return str(self.connection.ops.quote_name(str(field.column)))

    @cached_property
    def names(self) -> dict[str, str]:
        """The tables, what a claim reads and what it is ordered by, as SQL writes them."""
        quote = self.connection.ops.quote_name
        return {
            "attempt": quote(self.model._meta.db_table),
            "worker": quote(Worker._meta.db_table),
            "schedule": quote(Schedule._meta.db_table),
            "queue": quote(Queue._meta.db_table),
            "columns": ", ".join(map(self._claimed_column, COLUMNS)),
            "order": ", ".join(self.quoted(name) for name in ORDER),
        }

    def _claimed_column(self, name: str) -> str:
        """SQL for what a claim reads of a column: nothing of what is too large for a process."""
        column, vendor = self.quoted(name), self.connection.vendor
        if name == "args":
            found = as_bytes(vendor, column)
            return f"CASE WHEN {octets(vendor, column)} <= %(most_bytes)s THEN {found} END"
        if name == "metadata":
            text, most = json_text(vendor, column), MAX_METADATA_BYTES
            return f"CASE WHEN {octets(vendor, text)} <= {most} THEN {text} END"
        return column

    def size_of(self, attempt_id: UUID, column: str) -> int:
        """The bytes that one column of an attempt has; 0 of one that is gone."""
        key = self.model._meta.pk.get_db_prep_value(attempt_id, self.connection)
        value, vendor = self.quoted(column), self.connection.vendor
        if column == "metadata":
            value = json_text(vendor, value)
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"SELECT {octets(vendor, value)} FROM {self.names['attempt']} WHERE id = %s",
                [key],
            )
            row = cursor.fetchone()
        return 0 if row is None else int(row[0] or 0)

    def read_header(self, one: QuerySet[Any], column: str) -> bytes:
        """The first bytes of a sealed value that is too large to be fetched; `one`: its row."""
        first = Substr(column, 1, HEADER_BYTES, output_field=BinaryField())
        return bytes(one.values_list(first, flat=True).first() or b"")

    @cached_property
    def pace_names(self) -> dict[str, str]:
        """The table of paces and its key, as SQL writes them."""
        quote = self.connection.ops.quote_name
        return {"pace": quote(Pace._meta.db_table), "key": quote("key")}

    def now(self) -> datetime:
        """The database's clock."""
        sql, params = DatabaseNow().on(self.connection.vendor)
        with self.connection.cursor() as cursor:
            cursor.execute(f"SELECT {sql}", params)
            value: Any = cursor.fetchone()[0]
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)

    def redone(self, work: Callable[[], _T]) -> _T:
        """Do `work`, a statement in autocommit; see `transactions.redone`."""
        return redone(self.alias, work)

    def skipping_locked(self, rows: _Rows) -> _Rows:
        """`rows`, to be locked when they are read, without those that others lock.

        A row that refers to one of them, in a transaction that is still open, is no such lock.
        """
        no_key = self.connection.features.has_select_for_no_key_update
        return rows.select_for_update(skip_locked=True, no_key=no_key)

    def pass_gate(self) -> None:
        """Tell, when the open transaction commits, that something may be due earlier."""
        pass_gate(self.connection)

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


def status_when_due(moment: Any) -> Any:
    """The status, as an expression, of an attempt that is due at `moment`."""
    value = moment if hasattr(moment, "resolve_expression") else Value(moment)
    later = GreaterThan(value, DatabaseNow())
    return Case(When(later, then=Value(Status.SCHEDULED)), default=Value(Status.PENDING))


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


def driver_problem(alias: str, vendor: str) -> str | None:
    """Why no attempts can be kept by the driver that Django has found, if that is so."""
    if vendor != "postgresql":
        return None
    from django.db.backends.postgresql.psycopg_any import is_psycopg3

    if is_psycopg3:
        return None
    return (
        f"DATABASES[{alias!r}]: async_attempts needs psycopg 3, not psycopg2: "
        "pip install 'django-async-attempts[postgresql]'. Django takes it where both are installed."
    )


def needs_immediate(alias: str) -> str:
    """What is wrong with SQLite's own transaction mode."""
    return (
        f"DATABASES[{alias!r}]: SQLite needs OPTIONS['transaction_mode'] = 'IMMEDIATE': else a "
        "transaction that reads and then writes fails at once when another one writes."
    )

"""The statements that serve on any database, by the ORM; a dialect overrides some of them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import compress
from typing import Any, ClassVar, Final, NamedTuple, TypeVar
from uuid import UUID

from django.db.models import (
    BinaryField,
    Case,
    CharField,
    ExpressionWrapper,
    F,
    Model,
    Q,
    QuerySet,
    SmallIntegerField,
    Value,
    When,
)
from django.db.models.functions import Substr

from ...batches import in_batches
from ...encryption import HEADER_BYTES
from ...lifecycle import Status
from ...models import AttemptQuerySet, DatabaseNow
from ..claimed import SUSPECT, Claim, Selection
from ..database import Database
from ..expressions import NO_BYTES, ended, without

_T = TypeVar("_T")

KEYS_AT_ONCE: Final = 100
ANY_WAITS: Final = (
    "EXISTS (SELECT 1 FROM {attempt} WHERE status = 'waiting' AND blockers = 0 AND limit_key = %s)"
)


class Held(NamedTuple):
    """A claimed row that was locked. `on_ended`: True if something is to follow a bad end."""

    claim_seq: int
    cancel_requested: bool
    on_ended: bool


class Dialect:
    """The statements of one kind of database."""

    add_to_row: ClassVar = (
        "ON CONFLICT ({key}) DO UPDATE SET",
        "{name} = {table}.{name} + excluded.{name}",
    )
    """SQL after an INSERT by which a row that is there is changed, and how a column is added up."""

    minute: ClassVar[str]
    """SQL for the minute of `{now}`."""

    seconds_until: ClassVar[str]
    """SQL for the seconds from `{now}` to `{next}`: 0 for a moment before now, null for none."""

    names_to_flags: ClassVar[str]
    """SQL: a JSON object of `name` to `is_paused`."""

    by_claim_index = ""
    """SQL that makes a statement use the claim index, where the database has to be told."""

    finishes_alone: ClassVar = False
    """True if successes under claims of one number are recorded by one statement in autocommit."""

    def __init__(self, database: Database) -> None:
        self.database = database

    @staticmethod
    def around_transactions(_alias: str) -> AbstractContextManager[Any]:
        """Return the context in which the store's own transactions run."""
        return nullcontext()

    # --- sessions

    @abstractmethod
    def isolation_problem(self) -> str | None:
        """Return what is wrong with this connection's transactions for a worker, and the remedy."""

    def without_waiting(self, work: Callable[[], _T]) -> _T | None:
        """Do `work` in a transaction; None, and nothing done, if it would wait for the writer."""
        return self.database.in_transaction(work)

    def locking_by_id(self) -> AbstractContextManager[Any]:
        """Return a context in which attempts that are selected by their ids are locked in no other
        order.
        """
        return nullcontext()

    def by_index_over(self, *fields: str) -> AbstractContextManager[Any]:
        """Return a context in which attempts are read by the index over these columns."""
        return nullcontext()

    # --- claims

    def due(self, which: Q) -> Any:
        """Return those attempts among `which` that may be claimed now."""
        return self.database.attempts.filter(
            which, status=Status.PENDING, claimed_by=None, scheduled_at__lte=DatabaseNow()
        )

    def any_due(self, which: Selection) -> bool:
        """Return True if there is something to claim, paused or not."""
        if isinstance(which.param, UUID):
            return bool(self.due(Q(pk=which.param)).exists())
        suspects = Q(num_crashes__gt=0) if SUSPECT in which.sql else Q(num_crashes=0)
        due = without(self.due(Q(queue=which.param) & suspects), which.passed_over)
        return bool(due.exists())

    def promote(self, limit: int) -> int:
        """Make at most `limit` due scheduled attempts pending; returns their number."""
        database = self.database

        def work() -> int:
            due = database.attempts.filter(status=Status.SCHEDULED, scheduled_at__lte=DatabaseNow())
            due = due.order_by("scheduled_at", "id").select_for_update(skip_locked=True)
            ids = list(due.values_list("id", flat=True)[:limit])
            rows = database.attempts.filter(pk__in=ids, status=Status.SCHEDULED)
            promoted = rows.update(status=Status.PENDING) if ids else 0
            if promoted:
                # They may be of another queue, whose workers have seen them locked.
                database.notify_due()
            return promoted

        return database.in_transaction(work)

    @abstractmethod
    def claim(self, worker_id: UUID, which: Selection, limit: int) -> list[Claim]:
        """Claim the best of `which`, late or not, in a transaction of its own."""

    @abstractmethod
    def claim_within(self, worker_id: UUID, which: Selection, limit: int) -> list[Claim]:
        """Claim the best of `which`, late or not, in the transaction that is open."""

    # --- outcomes

    def lock_claimed(self, worker_id: UUID, claims: Sequence[Claim]) -> dict[UUID, Held]:
        """Lock those of these claimed rows that nobody else locks."""
        rows = self.database.claimed_by(worker_id, claims).order_by("id")
        locked = self.database.skipping_locked(rows)
        columns = "id", "claim_seq", "cancel_requested", "on_ended"
        return {i: Held(s, c, e is not None) for i, s, c, e in locked.values_list(*columns)}

    @abstractmethod
    def succeed(
        self, worker_id: UUID, claim_seq: int, ids: Sequence[bytes], drops: bool
    ) -> tuple[int, Sequence[UUID] | None]:
        """Record successes under claims of this number, of rows that nobody else locks.

        `drops`: True if the targets returned something that nobody asked to keep. Returns the
        number of those recorded, and the ids of those that have dependents; None: not known.
        """

    def succeed_with(self, worker_id: UUID, claim_seq: int, results: dict[UUID, bytes]) -> None:
        """Record successes, whose rows are locked, each with its sealed result."""
        kept = [
            When(pk=pk, then=Value(result, output_field=BinaryField()))
            for pk, result in results.items()
        ]
        self.database.fenced(worker_id, claim_seq, list(results)).update(
            **ended(Status.SUCCEEDED, sealed_result=Case(*kept), num_crashes=0)
        )

    def setting_result(self, drops: bool) -> str:
        """Return the part of a statement that notes that a result was dropped."""
        if not drops:
            return ""
        return f", {self.database.quoted('sealed_result')} = {NO_BYTES[self.database.vendor]}"

    def write_progress(self, percents: Mapping[UUID, int], notes: Mapping[UUID, str]) -> None:
        """Write the progress of attempts, whose rows are locked, by their ids."""
        rows = self.database.attempts.filter(pk__in=list(percents), status=Status.PENDING)
        rows.update(
            progress=Case(
                *(When(pk=pk, then=Value(percent)) for pk, percent in percents.items()),
                output_field=SmallIntegerField(),
            ),
            progress_note=Case(
                *(When(pk=pk, then=Value(note)) for pk, note in notes.items()),
                output_field=CharField(),
            ),
        )

    # --- limit keys

    def limit_keys_waited_for(self, keys: Sequence[str]) -> list[str]:
        """Return those of these limit keys, and perhaps some alike, for which attempts wait."""
        found: list[str] = []
        for some in in_batches(keys, KEYS_AT_ONCE):
            asked = ", ".join([ANY_WAITS.format(**self.database.names)] * len(some))
            [answers] = self.database.fetch(f"SELECT {asked}", some)
            found += compress(some, answers)
        return found

    def limit_keys_of(self, attempts: AttemptQuerySet[Any]) -> set[str]:
        """Return the limit keys of these attempts."""
        return set(attempts.values_list("limit_key", flat=True).distinct().order_by())

    def of_limit_key(self, attempts: AttemptQuerySet[Any], key: str) -> AttemptQuerySet[Any]:
        """Return those of `attempts` that have this limit key."""
        return attempts.filter(limit_key=key)

    # --- rows

    def delete(self, model: type[Model], keys: Collection[Any], column: str = "pk") -> None:
        """Delete the rows with these keys, which are locked, and touch no others."""
        for some in in_batches(keys):
            rows = self.database.rows(model).filter(**{f"{column}__in": some})
            rows._raw_delete(self.database.alias)

    def read_header(self, one: QuerySet[Any], column: str) -> bytes:
        """Return the first bytes of a sealed value that is too large to fetch; `one`: its row."""
        first = Substr(column, 1, HEADER_BYTES, output_field=BinaryField())
        return bytes(one.values_list(first, flat=True).first() or b"")

    # --- malformed rows

    @property
    def raw_key(self) -> Any:
        """An expression for the key of a row as it is stored: reading it converts nothing."""
        return ExpressionWrapper(F("pk"), output_field=CharField())

    def with_raw_keys(self, keys: Sequence[Any]) -> Any:
        """Return the attempts with these raw keys."""
        return self.database.attempts.filter(pk__in=[UUID(str(key)) for key in keys])

    def selection_of(self, keys: Sequence[Any]) -> Selection:
        """Return what a claim takes of the attempts with these raw keys."""
        ids = [self.database.stored(UUID(str(key))) for key in keys]
        return Selection("id IN %(which)s", ids)


def require_read_committed(alias: str, level: str) -> str | None:
    """Return what is wrong with the isolation level `level` ("read committed") for a worker."""
    if level.lower() == "read committed":
        return None
    return (
        f"DATABASES[{alias!r}]: a worker needs transactions at READ COMMITTED, not "
        f"{level.upper()}; leave OPTIONS['isolation_level'] out for the worker's process."
    )

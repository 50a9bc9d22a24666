"""Write new attempts in the caller's transaction: one statement, no savepoint."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any, Final, TypeVar

from django.db import connections, transaction
from django.db.models import Case, Value, When
from django.db.models.lookups import GreaterThan

from ..exceptions import DuplicateAttempt, WrongTransaction
from ..lifecycle import Status
from ..models import AbstractAttempt, DatabaseNow
from ..signals import enqueued
from .columns import Columns
from .rows import Rows, seconds_from_now
from .transactions import in_callers_block

_T = TypeVar("_T")

CHUNK_ROWS: Final = 500
CHUNK_BYTES: Final = 4 * 2**20
RE_READS: Final = 10
NOW: Final = DatabaseNow()
RETURNED: Final = ("id", "status", "scheduled_at", "expires_at", "created_at")


class Inserting(Rows):
    """From nothing to pending or scheduled."""

    unique_conflict = " ON CONFLICT ({key}) WHERE {key} IS NOT NULL DO NOTHING"

    def insert(self, attempt: AbstractAttempt) -> bool:
        """Write one new attempt; False when its idempotence token is taken.

        Waits for another transaction that holds the token and hasn't ended. Raises InvalidTarget,
        InvalidArguments, InvalidOption, WrongTransaction; then nothing has been sent to the
        database.
        """
        self._prepare([attempt])
        return self.redone(lambda: self._write([attempt])) == 1

    def insert_or_get(self, attempt: AbstractAttempt) -> AbstractAttempt:
        """Write one new attempt, or return the row that has its idempotence token."""
        self._prepare([attempt])
        return self._write_or_get(attempt)

    def _write_or_get(self, attempt: AbstractAttempt) -> AbstractAttempt:
        for _ in range(RE_READS):
            if self.redone(lambda: self._write([attempt])):
                return attempt
            if (taken := self._with_key(attempt.unique_key)) is not None:
                return taken
        raise DuplicateAttempt(
            f"{attempt}: the idempotence token {attempt.idempotence_token!r} was taken and given "
            f"back {RE_READS} times while enqueueing; enqueue again."
        )

    def insert_many(
        self, attempts: Iterable[AbstractAttempt], batch_size: int | None = None
    ) -> None:
        """Write all of `attempts` or none.

        Raises what `insert` raises, and DuplicateAttempt when an idempotence token is taken.
        """
        attempts = list(attempts)
        self._prepare(attempts)

        def work() -> None:
            for chunk in chunks(attempts, batch_size or CHUNK_ROWS):
                if self._write(chunk) != len(chunk):
                    taken = next(attempt for attempt in chunk if not attempt.created)
                    raise DuplicateAttempt(
                        f"{taken}: an attempt with the idempotence token "
                        f"{taken.idempotence_token!r} exists; none of these was enqueued."
                    )

        self._all_or_none(attempts, work)

    def insert_or_get_many(self, attempts: Sequence[AbstractAttempt]) -> list[AbstractAttempt]:
        """Write those of `attempts` whose token is free; for the others the row that's there."""
        self._prepare(attempts)

        def work() -> list[AbstractAttempt]:
            found: list[AbstractAttempt] = []
            for chunk in chunks(attempts, CHUNK_ROWS):
                self._write(chunk)
                found += [a if a.created else self._write_or_get(a) for a in chunk]
            return found

        return self._all_or_none(attempts, work)

    def _all_or_none(self, attempts: Sequence[AbstractAttempt], work: Callable[[], _T]) -> _T:
        """Do `work` in one transaction; rows of one that was undone are new again."""
        prepared = [{name: a.__dict__[name] for name in RETURNED} for a in attempts]

        def forget() -> None:
            for attempt, columns in zip(attempts, prepared, strict=True):
                attempt._state.adding, attempt.created = True, False
                attempt.__dict__.update(columns)

        def begin() -> _T:
            forget()
            with transaction.atomic(self.alias):
                return work()

        try:
            return self.redone(begin)
        except BaseException:
            forget()
            raise

    def _prepare(self, attempts: Sequence[AbstractAttempt]) -> None:
        if any(not attempt.allow_autocommit for attempt in attempts):
            refuse_wrong_transaction(self.alias)
        for attempt in attempts:
            attempt._state.db = self.alias
            attempt.created = False
            for column, seconds in attempt.seal().items():
                setattr(attempt, column, seconds_from_now(seconds))
            due: Any = attempt.scheduled_at
            attempt.status = Status.PENDING if due is None else status_when_due(due)
            attempt.scheduled_at = NOW if due is None else due
            attempt.created_at = NOW

    def _write(self, attempts: Sequence[AbstractAttempt]) -> int:
        """Write prepared attempts in one statement, but for taken tokens; returns how many."""
        keyed = any(attempt.unique_key is not None for attempt in attempts)
        sql, params = self._statement(attempts, keyed)
        with self.connection.cursor() as cursor:
            cursor.execute(sql, params)
            if not self._returns:
                return self._written(attempts, None)
            return self._written(attempts, cursor.fetchall())

    def _statement(self, attempts: Sequence[AbstractAttempt], keyed: bool) -> tuple[str, list[Any]]:
        columns = self.columns
        rows: list[str] = []
        params: list[Any] = []
        for attempt in attempts:
            places = []
            for column, value in zip(columns.all, columns.values_of(attempt), strict=True):
                place, values = columns.placed(column, value)
                places.append(place)
                params += values
            rows.append(f"({', '.join(places)})")
        return self._insert(f"VALUES {', '.join(rows)}", keyed), params

    def _insert(self, source: str, keyed: bool) -> str:
        conflict = self.unique_conflict.format(key=self.quoted("unique_key")) if keyed else ""
        into = f"INSERT INTO {self.columns.table} ({self.columns.names})"
        return f"{into} {source}{conflict}{self._returning}"

    def _written(
        self, attempts: Sequence[AbstractAttempt], rows: Sequence[Sequence[Any]] | None
    ) -> int:
        """Note on the objects what the database made of them; returns how many it took."""
        if rows is not None:
            read = {row[0]: row for row in map(self._read, rows)}
        count = 0
        for attempt in attempts:
            values = read.get(attempt.pk) if rows is not None else ()
            if values is None:
                continue
            for number, name in enumerate(RETURNED[1:], 1):
                if values:
                    setattr(attempt, name, values[number])
                else:
                    # Absent is what Django reads from the database when somebody asks.
                    del attempt.__dict__[name]
            attempt._state.adding = False
            attempt.created = True
            attempt.remember()
            count += 1
            if enqueued.has_listeners(self.model):
                enqueued.send(sender=self.model, attempt=attempt)
        return count

    def _with_key(self, key: bytes | None) -> AbstractAttempt | None:
        return self.attempts.filter(unique_key=key).first()

    @cached_property
    def _returns(self) -> bool:
        return self.connection.features.can_return_columns_from_insert

    @cached_property
    def columns(self) -> Columns:
        return Columns(self.attempts, self.alias)

    @cached_property
    def _returning(self) -> str:
        names = ", ".join(self.quoted(name) for name in RETURNED)
        return f" RETURNING {names}" if self._returns else ""

    def _read(self, row: Sequence[Any]) -> list[Any]:
        return [
            read(value) if read else value for read, value in zip(self._readers, row, strict=True)
        ]

    @cached_property
    def _readers(self) -> list[Any]:
        return [self.columns.reader(name) for name in RETURNED]


def status_when_due(moment: Any) -> Any:
    """The status, as an expression, of an attempt that is due at `moment`."""
    value = moment if hasattr(moment, "resolve_expression") else Value(moment)
    later = GreaterThan(value, DatabaseNow())
    return Case(When(later, then=Value(Status.SCHEDULED)), default=Value(Status.PENDING))


def refuse_wrong_transaction(alias: str) -> None:
    """Raise WrongTransaction when only another database's atomic block is open."""
    if in_callers_block(alias):
        return
    initialized = connections.all(initialized_only=True)
    open_elsewhere = [c.alias for c in initialized if in_callers_block(c.alias)]
    if open_elsewhere:
        raise WrongTransaction(
            f"The attempt would go to {alias!r} while the open transaction is on "
            f"{', '.join(map(repr, open_elsewhere))}: it would be performed even if that rolls "
            "back. Enqueue with using(database=…) in that transaction's database, or pass "
            "allow_autocommit=True."
        )


def chunks(attempts: Sequence[AbstractAttempt], rows: int) -> Iterator[Sequence[AbstractAttempt]]:
    """`attempts` in order, in pieces of at most `rows` rows and about CHUNK_BYTES of arguments."""
    chunk: list[AbstractAttempt] = []
    size = 0
    for attempt in attempts:
        if chunk and (len(chunk) >= rows or size + len(attempt.args) > CHUNK_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(attempt)
        size += len(attempt.args)
    if chunk:
        yield chunk

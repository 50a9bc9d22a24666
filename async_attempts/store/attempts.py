"""Write new attempts in the caller's transaction: one statement, no savepoint."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any, Final, TypeVar

from django.db import transaction

from ..batches import STATEMENT_BYTES, by_size
from ..exceptions import DuplicateAttempt, InvalidOption
from ..lifecycle import Status
from ..models import AbstractAttempt
from ..models.beginning import Kind
from ..models.clock import NOW
from ..models.dependency import note_prerequisites
from ..models.promise import Promised, Promises, promise, seal, seal_again
from .database import Database
from .debounce import Debounce
from .edges import Edges
from .expressions import seconds_from_now, status_when_due
from .insert import DECIDED, Insert, Many
from .queues import Queues
from .transactions import refuse_wrong_transaction, wrong_transaction

_T = TypeVar("_T")

A_FEW: Final = 32
"""Rows that go by one statement everywhere, unless they are large."""
RE_READS: Final = 10
CHUNK_ROWS: Final = 500


class Attempts:
    """New attempts: from nothing to pending, scheduled or waiting."""

    def __init__(
        self, database: Database, insert: Insert, debounce: Debounce, edges: Edges, queues: Queues
    ) -> None:
        self.database = database
        self.statement = insert
        self.debounce = debounce
        self.edges = edges
        self.queues = queues

    def insert(self, attempt: AbstractAttempt) -> bool:
        """Write one new attempt; False when its idempotence token is taken.

        Waits for another transaction that holds the token and hasn't ended. Raises InvalidTarget,
        InvalidArguments, InvalidOption, WrongTransaction; then nothing has been sent to the
        database.
        """
        if attempt.edges:
            return self.insert_or_get_many([attempt])[0] is attempt
        kind = self._prepare(attempt)
        if attempt.debounce_key is not None:
            attempt.__dict__ = self.debounce.write(attempt).__dict__
            return True
        return self.database.retry_on_conflict(lambda: self.statement.write([attempt], kind)) == 1

    def insert_or_get(
        self, attempt: AbstractAttempt, promised: Promised | None = None
    ) -> AbstractAttempt:
        """Write one new attempt, or return the row that has its idempotence token.

        `promised`: what its `promise()` has returned, if that was called.
        """
        if attempt.edges:
            return self.insert_or_get_many([attempt])[0]
        kind = self._prepare(attempt, promised)
        if attempt.debounce_key is not None:
            return self.debounce.write(attempt)
        return self._write_or_get(attempt, kind)

    def _write_or_get(self, attempt: AbstractAttempt, kind: Kind | None = None) -> AbstractAttempt:
        for _ in range(RE_READS):
            if self.database.retry_on_conflict(lambda: self.statement.write([attempt], kind)):
                return attempt
            if (taken := self._taken(attempt)) is not None:
                return taken
        raise DuplicateAttempt(
            f"{attempt}: the idempotence token {attempt.idempotence_token!r} was taken and given "
            f"back {RE_READS} times while enqueueing; enqueue again."
        )

    def _taken(self, attempt: AbstractAttempt) -> AbstractAttempt | None:
        """The row that has its idempotence token."""
        if (taken := self.statement.with_key(attempt.unique_key)) is not None:
            taken.created = False
        return taken

    def insert_many(
        self, attempts: Iterable[AbstractAttempt], batch_size: int | None = None
    ) -> None:
        """Write all of `attempts` or none.

        Raises what `insert` raises, and DuplicateAttempt when an idempotence token is taken.
        """
        many = self._prepare_many(list(attempts))
        if debounced := _debounced(many):
            name = debounced[0].debounce_key.options.name
            raise InvalidOption(
                f"bulk_create: {debounced[0]} has {name}, which may let a row that is there take "
                "its place; use enqueue_many."
            )

        def work() -> None:
            if self.statement.write_whole(many):
                return
            for chunk in _chunks(_by_key(many.sealed()), batch_size or CHUNK_ROWS):
                if self.statement.write(chunk, many.kind) != len(chunk):
                    taken = next(attempt for attempt in chunk if not attempt.created)
                    raise DuplicateAttempt(
                        f"{taken}: an attempt with the idempotence token "
                        f"{taken.idempotence_token!r} exists; none of these was enqueued."
                    )
            self.edges.link(many.rows, many.rows)

        self._all_or_none(many, work, batch_size or CHUNK_ROWS)

    def insert_or_get_many(
        self, attempts: Sequence[AbstractAttempt], promises: Promises | None = None
    ) -> list[AbstractAttempt]:
        """Write those of `attempts` whose token is free; for the others the row that's there.

        `promises`: what is known of them, if they are promised.
        """
        many = self._prepare_many(attempts, promises)
        return self._all_or_none(many, lambda: self._write_or_get_many(many))

    def insert_parts(
        self, parts: Iterable[tuple[Sequence[AbstractAttempt], Promises | None]]
    ) -> int:
        """Write as `insert_or_get_many` one part after the other, in one transaction.

        Holds one part at a time. Returns how many are new. Two transactions that collide are not
        done again, as for a caller's own: the parts can't be had twice.
        """
        wrong = wrong_transaction(self.database.alias)
        new = 0
        with transaction.atomic(self.database.alias):
            for attempts, promises in parts:
                if wrong is not None and not all(a.allow_autocommit for a in attempts):
                    raise wrong
                # No savepoint: PostgreSQL would have to keep one for each part in mind.
                many = self._prepare_many(attempts, promises)
                found = self._write_or_get_many(many)
                # All debounced calls of one key have one row.
                new += len({attempt.pk for attempt in found if attempt.created})
        return new

    def _write_or_get_many(self, many: Many) -> list[AbstractAttempt]:
        if self.statement.write_whole(many):
            return list(many.rows)
        rows, debounced = many.sealed(), _debounced(many)
        ordinary = [row for row in rows if row.debounce_key is None] if debounced else rows
        found = self._write_or_get_each(ordinary, many.kind)
        self.edges.link(ordinary, found)
        if not debounced:
            return found
        ids = [row.pk for row in ordinary]
        by_id = dict(zip(ids, found, strict=True)) | self.debounce.write_each(debounced)
        return [by_id[row.pk] for row in rows]

    def _write_or_get_each(
        self, attempts: Sequence[AbstractAttempt], kind: Kind | None = None
    ) -> list[AbstractAttempt]:
        if kind is not None:
            # They have no tokens.
            for chunk in _chunks(attempts, CHUNK_ROWS):
                self.statement.write(chunk, kind)
            return list(attempts)
        found: dict[int, AbstractAttempt] = {}
        for chunk in _chunks(_by_key(attempts), CHUNK_ROWS):
            self.statement.write(chunk)
            for attempt in chunk:
                there = attempt if attempt.created else self._taken(attempt)
                found[id(attempt)] = there or self._write_or_get(attempt)
        return [found[id(attempt)] for attempt in attempts]

    def _all_or_none(self, many: Many, work: Callable[[], _T], batch_size: int = CHUNK_ROWS) -> _T:
        """Do `work` in one transaction; rows of one that was undone are new again."""
        prepared = many.all_decided()

        def forget() -> None:
            for attempt, columns in zip(many.rows, prepared, strict=True):
                attempt._state.adding, attempt.created = True, False
                attempt.__dict__.update(zip(DECIDED, columns, strict=True))

        is_one = self._is_one_statement(many, batch_size)

        def begin() -> _T:
            if any(attempt.created for attempt in many.rows):
                forget()
                # They may be bound to one that had a token then, and is no more.
                for attempt in many.rows:
                    if attempt.edges:
                        seal_again(attempt)
            with nullcontext() if is_one else transaction.atomic(self.database.alias):
                return work()

        is_keyed = many.kind is None and any(row.unique_key is not None for row in many.rows)
        try:
            return (
                self.statement.retry_for_tokens(begin)
                if is_keyed
                else self.database.retry_on_conflict(begin)
            )
        except BaseException:
            forget()
            for attempt in many.rows:
                if attempt.edges or attempt.is_prerequisite:
                    attempt.status, attempt.blockers = Status.PENDING, 0
                    attempt.has_dependents = False
            raise

    def _is_one_statement(self, many: Many, batch_size: int) -> bool:
        """Return True if one INSERT is all there is to do: it is all or none without a savepoint.

        It isn't if rows may be there already, or if a receiver of `enqueued` may raise.
        """
        if len(many.rows) > min(A_FEW, batch_size) or self.statement.is_listened_to:
            return False
        if any(
            row.unique_key is not None or row.loads_defaults or row.debounce_key or row.edges
            for row in many.rows
        ):
            return False
        return sum(len(row.args) for row in many.sealed()) <= STATEMENT_BYTES

    def _prepare(self, attempt: AbstractAttempt, promised: Promised | None = None) -> Kind | None:
        """Make one ready to be written; returns its kind, if it is of one."""
        if not attempt.allow_autocommit:
            refuse_wrong_transaction(self.database.alias)
        attempt._state.db = self.database.alias
        promised = promised or promise(attempt)
        self.queues.require_room((attempt,))
        seal(attempt, promised.plaintext)
        return self._beginning(attempt, promised)

    def _prepare_many(
        self, attempts: Sequence[AbstractAttempt], promises: Promises | None = None
    ) -> Many:
        """Make them ready to be written, but for their encryption."""
        if not all(attempt.allow_autocommit for attempt in attempts):
            refuse_wrong_transaction(self.database.alias)
        for attempt in attempts:
            attempt._state.db = self.database.alias
        if promises is not None:
            self.queues.require_room(attempts)
            return Many(attempts, promises)
        note_prerequisites(attempts)
        plaintexts, kinds = [], set()
        for attempt in attempts:
            promised = promise(attempt)
            plaintexts.append(promised.plaintext)
            kinds.add(self._beginning(attempt, promised))
        self.queues.require_room(attempts)
        return Many(attempts, Promises(plaintexts, kinds.pop() if len(kinds) == 1 else None))

    @staticmethod
    def _beginning(attempt: AbstractAttempt, promised: Promised) -> Kind | None:
        if promised.kind is not None:
            return None if attempt.loads_defaults else promised.kind
        row = attempt.__dict__
        for column, seconds in promised.relative.items():
            row[column] = seconds_from_now(seconds)
        due = row["scheduled_at"]
        if due is None:
            row["status"], row["scheduled_at"] = Status.PENDING, NOW
        else:
            row["status"] = status_when_due(due)
        if attempt.edges:
            row["status"], row["blockers"] = Status.WAITING, len(attempt.edges)
        if attempt.is_prerequisite:
            row["has_dependents"] = True
        row["created_at"] = NOW
        row["created"] = False
        return None


def _by_key(attempts: Sequence[AbstractAttempt]) -> Sequence[AbstractAttempt]:
    """Return them in the order of their unique keys.

    Callers of the same keys would otherwise wait in a circle.
    """
    if all(attempt.unique_key is None for attempt in attempts):
        return attempts
    return sorted(attempts, key=lambda attempt: attempt.unique_key or b"")


def _chunks(attempts: Sequence[AbstractAttempt], rows: int) -> Iterator[Sequence[AbstractAttempt]]:
    """Yield them in order, in pieces that fit into one statement each."""
    return by_size(attempts, lambda attempt: len(attempt.args), number=rows)


def _debounced(many: Many) -> list[Any]:
    """Return the rows that are debounced or throttled; none of them is of a kind."""
    if many.kind is not None:
        return []
    return [row for row in many.rows if row.debounce_key is not None]

"""Write new attempts in the caller's transaction: one statement, no savepoint."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, Final, TypeVar

from django.db import transaction

from ..batches import STATEMENT_BYTES, by_size
from ..exceptions import DuplicateAttempt, InvalidOption
from ..lifecycle import Status
from ..models import AbstractAttempt
from ..models.clock import NOW
from ..models.dependency import note_prerequisites
from ..models.new_rows import complete
from ..models.row_template import RowTemplate, adopt_template
from ..models.sealing import plaintexts_of, seal
from ..plaintext import Plaintext
from .expressions import seconds_from_now, status_when_due
from .insert import A_FEW, CHUNK_ROWS, DECIDED, InsertAlike
from .prerequisites import Prerequisites
from .queues import Queues
from .shared_keys import SharedKeys
from .transactions import refuse_wrong_transaction, wrong_transaction

_T = TypeVar("_T")

RE_READS: Final = 10


class Attempts:
    """Inserts new attempts, and gives them their first status."""

    def __init__(
        self,
        alike: InsertAlike,
        shared_keys: SharedKeys,
        prerequisites: Prerequisites,
        queues: Queues,
    ) -> None:
        self.alike = alike
        self.inserts = alike.insert
        self.database = alike.database
        self.shared_keys = shared_keys
        self.prerequisites = prerequisites
        self.queues = queues

    def insert_alike(self, rows: Sequence[AbstractAttempt], template: RowTemplate) -> None:
        """Write all of these new rows of one template, or none.

        Raises what `insert` raises, and what receivers of `enqueued` raise.
        """
        refuse_wrong_transaction(self.database.alias)
        self.alike.write(rows, self._plaintexts_of(rows), template)

    def insert_one_alike(self, row: AbstractAttempt, template: RowTemplate) -> None:
        """Write a new row of a template, by one statement; raises as `insert_alike`.

        It stays written, as after `insert`, if a receiver of `enqueued` raises.
        """
        refuse_wrong_transaction(self.database.alias)
        self.alike.write_one(row, self._plaintexts_of([row]), template)

    def insert(self, attempt: AbstractAttempt) -> bool:
        """Write one new attempt; False when its idempotence token is taken.

        Waits for another transaction that holds the token and hasn't ended. Raises InvalidTarget,
        InvalidArguments, InvalidOption, WrongTransaction; then nothing has been sent to the
        database.
        """
        if attempt.edges:
            return self.insert_or_get_many([attempt])[0] is attempt
        self._prepare([attempt])
        if attempt.shared_key is not None:
            attempt.__dict__ = self.shared_keys.write(attempt).__dict__
            return True
        return self.database.retry_on_conflict(lambda: self.inserts.write([attempt])) == 1

    def insert_or_get(self, attempt: AbstractAttempt) -> AbstractAttempt:
        """Write one new attempt, or return the row that has its idempotence token."""
        if attempt.edges:
            return self.insert_or_get_many([attempt])[0]
        self._prepare([attempt])
        if attempt.shared_key is not None:
            return self.shared_keys.write(attempt)
        return self._write_or_get(attempt)

    def _write_or_get(self, attempt: AbstractAttempt) -> AbstractAttempt:
        for _ in range(RE_READS):
            if self.database.retry_on_conflict(lambda: self.inserts.write([attempt])):
                return attempt
            if (taken := self._taken(attempt)) is not None:
                return taken
        raise DuplicateAttempt(
            f"{attempt}: the idempotence token {attempt.idempotence_token!r} was taken and given "
            f"back {RE_READS} times while enqueueing; enqueue again."
        )

    def _taken(self, attempt: AbstractAttempt) -> AbstractAttempt | None:
        """The row that has its idempotence token."""
        if (taken := self.inserts.with_key(attempt.unique_key)) is not None:
            taken.created = False
        return taken

    def insert_many(
        self, attempts: Iterable[AbstractAttempt], batch_size: int | None = None
    ) -> None:
        """Write all of `attempts` or none.

        Raises what `insert` raises, and DuplicateAttempt when an idempotence token is taken.
        """
        rows = list(attempts)
        if batch_size is None and (template := adopt_template(rows)) is not None:
            self.insert_alike(rows, template)
            return
        self._prepare(rows)
        if keyed := [row for row in rows if row.shared_key is not None]:
            _reset_state(rows)
            key: Any = keyed[0].shared_key
            raise InvalidOption(
                f"bulk_create: {keyed[0]} has {key.options.name}, which may let a row that is "
                "there take its place; use enqueue_many."
            )

        def work() -> None:
            for chunk in _chunks(_by_key(rows), batch_size or CHUNK_ROWS):
                if self.inserts.write(chunk) != len(chunk):
                    taken = next(attempt for attempt in chunk if not attempt.created)
                    raise DuplicateAttempt(
                        f"{taken}: an attempt with the idempotence token "
                        f"{taken.idempotence_token!r} exists; none of these was enqueued."
                    )
            self.prerequisites.link(rows, rows)

        self._all_or_none(rows, work, batch_size or CHUNK_ROWS)

    def insert_or_get_many(self, attempts: Sequence[AbstractAttempt]) -> list[AbstractAttempt]:
        """Write those of `attempts` whose token is free; for the others the row that's there."""
        self._prepare(attempts)
        return self._all_or_none(attempts, lambda: self._write_or_get_many(attempts))

    def insert_parts(
        self, parts: Iterable[tuple[Sequence[AbstractAttempt], RowTemplate | None]]
    ) -> int:
        """Write as `insert_or_get_many` one part after the other, in one transaction.

        `parts` are read as they are written, each with its template, if all of its rows have one.
        Returns how many rows are new. They can't be read twice, so nothing is done again when two
        transactions collide, as for a caller's own.
        """
        wrong = wrong_transaction(self.database.alias)
        new = 0
        with transaction.atomic(self.database.alias):
            for attempts, template in parts:
                if wrong is not None and not all(a.allow_autocommit for a in attempts):
                    raise wrong
                # No savepoint: PostgreSQL keeps a subtransaction for each until the commit.
                if template is not None:
                    self.alike.write_within(attempts, self._plaintexts_of(attempts), template)
                    self.inserts.announce(attempts)
                    new += len(attempts)
                    continue
                self._prepare(attempts)
                found = self._write_or_get_many(attempts)
                # All calls of one key have one row.
                new += len({attempt.pk for attempt in found if attempt.created})
        return new

    def _write_or_get_many(self, rows: Sequence[AbstractAttempt]) -> list[AbstractAttempt]:
        keyed = [row for row in rows if row.shared_key is not None]
        ordinary = [row for row in rows if row.shared_key is None] if keyed else rows
        found = self._write_or_get_each(ordinary)
        self.prerequisites.link(ordinary, found)
        if not keyed:
            return found
        ids = [row.pk for row in ordinary]
        by_id = dict(zip(ids, found, strict=True)) | self.shared_keys.write_each(keyed)
        return [by_id[row.pk] for row in rows]

    def _write_or_get_each(self, attempts: Sequence[AbstractAttempt]) -> list[AbstractAttempt]:
        found: dict[int, AbstractAttempt] = {}
        for chunk in _chunks(_by_key(attempts), CHUNK_ROWS):
            self.inserts.write(chunk)
            for attempt in chunk:
                there = attempt if attempt.created else self._taken(attempt)
                found[id(attempt)] = there or self._write_or_get(attempt)
        return [found[id(attempt)] for attempt in attempts]

    def _all_or_none(
        self, rows: Sequence[AbstractAttempt], work: Callable[[], _T], batch_size: int = CHUNK_ROWS
    ) -> _T:
        """Do `work` in one transaction; if it is rolled back, the rows are unsaved again."""
        prepared = [{name: row.__dict__[name] for name in DECIDED} for row in rows]

        def forget() -> None:
            for row, columns in zip(rows, prepared, strict=True):
                row._state.adding, row.created = True, False
                row.__dict__.update(columns)

        is_one = self._is_one_statement(rows, batch_size)

        def begin() -> _T:
            if any(row.created for row in rows):
                forget()
                # A prerequisite that had its token at the first try may be gone.
                _seal(row for row in rows if row.edges)
            with nullcontext() if is_one else transaction.atomic(self.database.alias):
                return work()

        try:
            if any(row.unique_key is not None for row in rows):
                return self.inserts.retry_for_tokens(begin)
            return self.database.retry_on_conflict(begin)
        except BaseException:
            forget()
            _reset_state(rows)
            raise

    def _is_one_statement(self, rows: Sequence[AbstractAttempt], batch_size: int) -> bool:
        """Return True if one INSERT is all there is to do: it is all or none without a savepoint.

        It isn't if rows may be there already, or if a receiver of `enqueued` may raise.
        """
        if len(rows) > min(A_FEW, batch_size) or self.inserts.is_listened_to:
            return False
        if any(
            row.unique_key is not None or row.loads_defaults or row.shared_key or row.edges
            for row in rows
        ):
            return False
        return sum(len(row.args) for row in rows) <= STATEMENT_BYTES

    def _prepare(self, attempts: Sequence[AbstractAttempt]) -> None:
        """Make them ready to be written, their arguments sealed.

        If it raises, nothing is written, and the rows are new again.
        """
        if not all(attempt.allow_autocommit for attempt in attempts):
            refuse_wrong_transaction(self.database.alias)
        for attempt in attempts:
            attempt._state.db = self.database.alias
        note_prerequisites(attempts)
        begun: list[AbstractAttempt] = []
        try:
            for attempt in attempts:
                _begin(attempt, complete(attempt))
                begun.append(attempt)
            _seal(attempts)
            self.queues.require_room(attempts)
        except BaseException:
            _reset_state(begun)
            raise

    def _plaintexts_of(self, rows: Sequence[AbstractAttempt]) -> Sequence[Plaintext]:
        """Do as `_prepare` for rows of a template; return their arguments, not yet sealed."""
        for row in rows:
            row._state.db = self.database.alias
        plaintexts = plaintexts_of(rows)
        self.queues.require_room(rows)
        return plaintexts


def _begin(attempt: AbstractAttempt, relative: Mapping[str, float]) -> None:
    """Give a new row its first status; `relative`: moments as seconds from the database's now."""
    row = attempt.__dict__
    for column, seconds in relative.items():
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


def _reset_state(rows: Iterable[AbstractAttempt]) -> None:
    """Reset the state that `complete` refuses on a new row, so that it can be enqueued again."""
    for row in rows:
        if row.edges or row.is_prerequisite:
            row.status, row.blockers = Status.PENDING, 0
            row.has_dependents = False


def _seal(rows: Iterable[AbstractAttempt]) -> None:
    for row in rows:
        seal(row)


def _by_key(attempts: Sequence[AbstractAttempt]) -> Sequence[AbstractAttempt]:
    """Return them in the order of their unique keys.

    Callers of the same keys would deadlock otherwise.
    """
    if all(attempt.unique_key is None for attempt in attempts):
        return attempts
    return sorted(attempts, key=lambda attempt: attempt.unique_key or b"")


def _chunks(attempts: Sequence[AbstractAttempt], rows: int) -> Iterator[Sequence[AbstractAttempt]]:
    """Yield them in order, in pieces that fit into one statement each."""
    return by_size(attempts, lambda attempt: len(attempt.args), number=rows)

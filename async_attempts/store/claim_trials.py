"""Trials: claims and promotions that are rolled back, to find the attempts that make them fail."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.db import transaction
from django.db.models import DateTimeField, Q, QuerySet

from ..batches import in_batches
from ..lifecycle import Status
from ..models import AbstractAttempt, DatabaseNow
from .database import Database
from .dialects.base import Dialect
from .transactions import is_about_a_value

TRIED_AT_ONCE: Final = 200
MOST_TRIED: Final = 10_000
"""Attempts of a queue. The batch that fails may begin behind others: locked ones, suspects, and
attempts that this worker lacks the key for."""

_OF_THE_MOVE: Final = frozenset({"id", "status", "claimed_by"})
_OF_A_GROUP: Final = frozenset({"target", "method_name"})
_PLAIN: Final = {"target": "", "method_name": "", "priority": 0, "args": b"", "keep_result": False}
"""Plain values of columns that have no default; a queue is never to blame."""

Work = Callable[[Sequence[Any]], int]
"""A move of the attempts with these keys; returns how many it has moved."""


class Refused(NamedTuple):
    """An attempt that can't be moved for what it holds, while it is still as `state` says."""

    key: Any
    error: Exception
    state: Q


class _RefusesAll(Exception):
    """The database refuses a move whatever the attempt holds."""


class Trials:
    """Find the attempts that can't be promoted or claimed for what they hold."""

    def __init__(self, database: Database, dialect: Dialect) -> None:
        self.database = database
        self.dialect = dialect

    def refused(self, worker_id: UUID | None, queues: Collection[str]) -> Iterator[Refused]:
        """Yield each due attempt whose own values make a promotion or a claim by `worker_id` fail.

        The proof: the move works with this very row once plain values stand in it, fails with
        its own, and works with plain ones again. Nothing is yielded any more after a move that is
        refused whatever the row holds: by a trigger or a check that holds all attempts back.
        """
        scheduled = Q(status=Status.SCHEDULED)
        due = self.database.attempts.filter(scheduled, scheduled_at__lte=DatabaseNow())
        try:
            yield from self._refused(
                due.order_by("scheduled_at", "pk"), self._promote_those, scheduled
            )
            if worker_id is None:
                return
            claim = partial(self._claim_those, worker_id)
            unclaimed = Q(status=Status.PENDING, claimed_by=None)
            # A claim that failed only when its rows were read has taken them.
            taken = Q(status=Status.PENDING, claimed_by=worker_id)
            yield from self._refused(self.database.attempts.filter(taken), claim, taken)
            for queue in queues:
                best = self.dialect.due(Q(queue=queue)).order_by("-priority", "scheduled_at", "pk")
                yield from self._refused(best, claim, unclaimed)
        except _RefusesAll:
            return

    def _refused(self, rows: QuerySet[Any], work: Work, state: Q) -> Iterator[Refused]:
        found = rows.annotate(raw_key=self.dialect.raw_key).values_list("raw_key", flat=True)
        keys = list(found[:MOST_TRIED])
        for some in in_batches(keys, TRIED_AT_ONCE):
            for key, error in self._failing(some, work):
                if self._is_to_blame(key, work):
                    yield Refused(key, error, state)

    def _failing(self, keys: Sequence[Any], work: Work) -> Iterator[tuple[Any, Exception]]:
        """Find those of `keys` with which this fails, by halving."""
        result = self._tried(partial(work, keys))
        if not isinstance(result, Exception):
            return
        if len(keys) == 1:
            yield keys[0], result
            return
        middle = len(keys) // 2
        yield from self._failing(keys[:middle], work)
        yield from self._failing(keys[middle:], work)

    def _is_to_blame(self, key: Any, work: Work) -> bool:
        return (
            self._works_when_plain(key, work)
            and isinstance(self._tried(partial(work, [key])), Exception)
            and self._works_when_plain(key, work)
        )

    def _works_when_plain(self, key: Any, work: Work) -> bool:
        """False if the row is locked or was moved meanwhile. Raises _RefusesAll."""

        def write(values: Mapping[str, Any]) -> int:
            return int(self.dialect.with_raw_keys(self._lock_free_ones([key])).update(**values))

        def work_when_plain() -> int:
            write(values)
            return work([key])

        values = self._accepted(write, self._plain_values(key))
        result = self._tried(work_when_plain)
        if isinstance(result, Exception):
            raise _RefusesAll
        return result == 1

    def _accepted(
        self, write: Callable[[Mapping[str, Any]], int], values: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """The values among these that the table accepts: a project may have rules of its own."""
        if not isinstance(self._tried(partial(write, values)), Exception):
            return values
        accepted: dict[str, Any] = {}
        for name, value in values.items():
            some = accepted | {name: value}
            if not isinstance(self._tried(partial(write, some)), Exception):
                accepted = some
        return accepted

    def _plain_values(self, key: Any) -> dict[str, Any]:
        """Values with which any attempt can be moved.

        Queue and target stay, if they can be read: a trigger that holds back all attempts of one
        says nothing against this one.
        """
        values: dict[str, Any] = {}
        for field in AbstractAttempt._meta.concrete_fields:
            if field.name in _PLAIN:
                values[field.name] = _PLAIN[field.name]
            elif field.null:
                values[field.name] = None
            elif field.has_default():
                values[field.name] = field.get_default()
            elif isinstance(field, DateTimeField):
                values[field.name] = DatabaseNow()
        kept = _OF_THE_MOVE | _OF_A_GROUP if self._can_read_group(key) else _OF_THE_MOVE
        return {name: value for name, value in values.items() if name not in kept}

    def _can_read_group(self, key: Any) -> bool:
        try:
            # PostgreSQL takes nothing more in a transaction after an error.
            with transaction.atomic(self.database.alias):
                self.dialect.with_raw_keys([key]).values_list(*_OF_A_GROUP).first()
        except Exception as error:
            if not is_about_a_value(error):
                raise
            return False
        return True

    def _tried(self, work: Callable[[], int]) -> int | Exception:
        """Do `work` and roll it back; returns its result, or an error that a value may cause."""

        def tried() -> int:
            number = work()
            transaction.set_rollback(True, self.database.alias)
            return number

        try:
            return self.database.in_transaction(tried)
        except Exception as error:
            if not is_about_a_value(error):
                raise
            return error

    def _promote_those(self, keys: Sequence[Any]) -> int:
        rows = self.dialect.with_raw_keys(self._lock_free_ones(keys)).filter(
            status=Status.SCHEDULED
        )
        return int(rows.update(status=Status.PENDING))

    def _claim_those(self, worker_id: UUID, keys: Sequence[Any]) -> int:
        unlocked = self._lock_free_ones(keys)
        if not unlocked:
            return 0
        mine = self.dialect.with_raw_keys(unlocked).filter(
            status=Status.PENDING, claimed_by=worker_id
        )
        mine.update(claimed_by=None)
        which = self.dialect.selection_of(unlocked)
        return len(self.dialect.claim_within(worker_id, which, len(unlocked)))

    def _lock_free_ones(self, keys: Sequence[Any]) -> Sequence[Any]:
        """Lock the ones of these rows that nobody else locks; return their keys."""
        rows = self.database.skipping_locked(self.dialect.with_raw_keys(keys).order_by("pk"))
        return list(rows.annotate(raw_key=self.dialect.raw_key).values_list("raw_key", flat=True))

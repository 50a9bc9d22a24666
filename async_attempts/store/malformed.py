"""Rows that hold what no worker can read or count up: failed, or mended, one by one.

The tables' checks refuse such values; a table may have been made without them, or have lost them.
A statement over many rows fails for one of them, and says not for which.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from functools import partial, reduce
from operator import or_
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.db import Error, transaction
from django.db.models import CharField, ExpressionWrapper, F, Model, Q, QuerySet
from django.db.models.lookups import Exact

from ..ids import uuid7
from ..lifecycle import FINAL, LIVE, Status
from ..models import (
    DatabaseNow,
    Dependency,
    Failure,
    Pace,
    Queue,
    Schedule,
    Slot,
    Tally,
    Worker,
)
from ..models.bounds import (
    MOST_CLAIMS,
    MOST_COUNTED,
    NOW,
    AreInRange,
    Bound,
    IsMalformed,
    bounds_of,
)
from .claiming import Claiming
from .limiting import Which
from .rows import RowId, ended
from .transactions import is_about_a_value

logger = logging.getLogger("async_attempts")

MENDED_AT_A_TIME: Final = 1000
TRIED_AT_A_TIME: Final = 200

SMALL_TABLES: Final[tuple[type[Model], ...]] = (Schedule, Worker, Queue, Slot, Pace, Tally)
LARGE_TABLES: Final[tuple[type[Model], ...]] = (Dependency, Failure)

COUNTED_BY_CLAIMS: Final = (
    Bound("num_attempts", AreInRange("num_attempts", low=0, high=MOST_COUNTED - 1), 0),
    Bound("claim_seq", AreInRange("claim_seq", low=0, high=MOST_CLAIMS - 1), 0),
)
"""What a claim counts up: at its end it is within the table's checks, and the claim is not."""

_COUNTED: Final = {bound.column for bound in COUNTED_BY_CLAIMS}


class Malformed(NamedTuple):
    """A row that was set aside: its table, its key as the database has it, and what is wrong."""

    table: str
    key: Any
    problem: str
    has_failed: bool = False

    def __str__(self) -> str:
        done = "has failed" if self.has_failed else "was mended"
        return f"{self.table} {self.key!r:.80} {done}: {self.problem}"


class MalformedRows(Claiming):
    """Every statement takes one key, so that no other row can make it fail."""

    def set_malformed_aside(
        self, worker_id: UUID | None = None, queues: Collection[str] = ()
    ) -> list[Malformed]:
        """Fail the live attempts, and mend the other rows, that no worker can handle.

        To be called after a statement has failed for what a row holds: see `is_about_a_value`.
        First by what the tables' checks say. If no row is against them, the next attempts of
        `queues` are claimed by `worker_id` one by one, in transactions that are rolled back.
        """
        found = self._out_of_bounds(self.model, Q(status__in=LIVE))
        for model in SMALL_TABLES:
            found += self._out_of_bounds(model)
        if found:
            return found
        found = self._out_of_bounds(self.model, Q(status__in=FINAL))
        for model in LARGE_TABLES:
            found += self._out_of_bounds(model)
        return found or self._fail_unclaimable(worker_id, queues)

    def mend_schedules(self) -> list[Malformed]:
        """Pause the schedules that hold what no worker can read; returns them."""
        return self._out_of_bounds(Schedule)

    def _out_of_bounds(self, model: type[Model], which: Q | None = None) -> list[Malformed]:
        """Set aside what a table's checks are against; of attempts, what no claim can count up."""
        bounds = bounds_of(model, self.connection)
        if model is self.model:
            bounds = [one for one in bounds if one.column not in _COUNTED] + [*COUNTED_BY_CLAIMS]
        if not bounds:
            return []
        broken = [IsMalformed(bound.condition) for bound in bounds]
        flags = {f"is_malformed_{number}": each for number, each in enumerate(broken)}
        is_broken = reduce(or_, map(Q, broken))
        rows = self._rows(model).filter(is_broken, which or Q())
        is_attempt = model is self.model
        others = ("status",) if is_attempt else ()
        found = rows.annotate(raw_key=self._key).values_list("raw_key", *others, *flags.values())
        set_aside = []
        for key, *values in list(found.order_by()[:MENDED_AT_A_TIME]):
            said = values[len(others) :]
            wrong = [bound for bound, flag in zip(bounds, said, strict=True) if flag]
            columns = _mended(model, wrong)
            problem = "malformed: " + ", ".join(bound.column for bound in wrong)
            if is_attempt and values[0] in LIVE:
                done = self._fail(key, problem, columns or {}, is_broken)
            else:
                done = self._mend(model, key, problem, columns)
            if done is not None:
                set_aside.append(done)
        return set_aside

    def _fail(
        self, key: Any, problem: str, mended: dict[str, Any], still: Q | None = None
    ) -> Malformed | None:
        """Let one attempt fail; None if it has ended or been mended meanwhile, or can't even fail.

        What waits for it is closed by the sweep: its id may be what is malformed.
        """

        def work() -> int:
            columns = mended | ended(Status.FAILED, reason=problem, blockers=0)
            mine = self._one_by_key(key).filter(still or Q(), status__in=LIVE)
            failed: int = mine.update(**columns)
            if failed:
                self.tell_waiters()
            return failed

        table = str(self.model._meta.verbose_name)
        if not self._done(work, table, key):
            return None
        if limit_key := self._limit_key_of(key):
            self.wake({limit_key})
        return Malformed(table, key, problem, has_failed=True)

    def _limit_key_of(self, key: Any) -> str:
        """Its limit key; "" if that is what is malformed."""
        try:
            return self._one_by_key(key).values_list("limit_key", flat=True).first() or ""
        except Error as error:
            if not is_about_a_value(error):
                raise
            return ""

    def _mend(
        self, model: type[Model], key: Any, problem: str, columns: dict[str, Any] | None
    ) -> Malformed | None:
        """Put what stands in for it in the place of what is malformed.

        `columns`: None for a row that is nothing without it, and is deleted.
        """
        row = self._rows(model).filter(Exact(self._key, key))

        def work() -> int:
            if columns is None:
                return row._raw_delete(self.alias) or 1
            return row.update(**columns)

        table = str(model._meta.verbose_name)
        return Malformed(table, key, problem) if self._done(work, table, key) else None

    def _done(self, work: Callable[[], int], table: str, key: Any) -> bool:
        """Do `work`, whose one row may be against a check of the project's own."""
        try:
            return bool(self.whole(work))
        except Error as error:
            if not is_about_a_value(error):
                raise
            logger.error("%s %.80r can't be set aside: %s", table, key, type(error).__name__)
            return False

    def _fail_unclaimable(self, worker_id: UUID | None, queues: Collection[str]) -> list[Malformed]:
        """Fail those of the next attempts that can't be claimed or promoted, each for itself.

        None of them if that is so of all, but for a single one that the database refuses: then it
        isn't for what one of them holds.
        """
        due = self.attempts.filter(status=Status.SCHEDULED, scheduled_at__lte=DatabaseNow())
        found, good = self._tried(due.order_by("scheduled_at", "pk"), self._try_to_promote)
        if worker_id is not None and queues:
            # What it took by a claim that failed only when it was read is its own already.
            claimable = self.due(Q(queue__in=list(queues))) | self._taken_by(worker_id)
            best = claimable.order_by("-priority", "scheduled_at", "pk")
            more, others = self._tried(best, partial(self._try_to_claim, worker_id))
            found, good = found + more, good + others
        is_refused = len(found) == 1 and isinstance(found[0][1], Error)
        if not good and not is_refused:
            return []
        failed = (
            self._fail(key, f"it can't be claimed: {type(error).__name__}", {})
            for key, error in found
        )
        return [one for one in failed if one is not None]

    def _tried(
        self, rows: QuerySet[Any], attempt: Callable[[Any], None]
    ) -> tuple[list[tuple[Any, Exception]], int]:
        """Those of the first of `rows` with which this can't be done, and how many others."""
        keys = rows.annotate(raw_key=self._key).values_list("raw_key", flat=True)
        bad: list[tuple[Any, Exception]] = []
        tried = 0
        for key in list(keys[:TRIED_AT_A_TIME]):
            tried += 1
            try:
                self.whole(partial(attempt, key))
            except Exception as error:
                if not is_about_a_value(error):
                    raise
                bad.append((key, error))
        return bad, tried - len(bad)

    def _try_to_claim(self, worker_id: UUID, key: Any) -> None:
        if self.connection.vendor == "sqlite":
            which = Which("rowid = %(which)s", key)
        else:
            which = Which("id = %(which)s", UUID(str(key)))
        self._taken_by(worker_id).filter(Exact(self._key, key)).update(claimed_by=None)
        self._claim_within(worker_id, which, 1)
        transaction.set_rollback(True, self.alias)

    def _taken_by(self, worker_id: UUID) -> Any:
        return self.attempts.filter(status=Status.PENDING, claimed_by=worker_id)

    def _try_to_promote(self, key: Any) -> None:
        self._one_by_key(key).filter(status=Status.SCHEDULED).update(status=Status.PENDING)
        transaction.set_rollback(True, self.alias)

    def _rows(self, model: type[Model]) -> QuerySet[Any]:
        return self.attempts if model is self.model else model._base_manager.using(self.alias)

    def _one_by_key(self, key: Any) -> Any:
        return self.attempts.filter(Exact(self._key, key))

    @property
    def _key(self) -> Any:
        """The key of a row as the database has it: reading it converts nothing."""
        if self.connection.vendor == "sqlite":
            return RowId()
        return ExpressionWrapper(F("pk"), output_field=CharField())


def _mended(model: type[Model], wrong: Sequence[Bound]) -> dict[str, Any] | None:
    """What is to stand in the place of what is malformed; None if nothing can."""
    columns: dict[str, Any] = {}
    for bound in wrong:
        field: Any = model._meta.get_field(bound.column)
        if field.primary_key:
            columns[bound.column] = uuid7()
        elif field.name == "completed_at":
            # An attempt that has ended must have one.
            columns[bound.column] = DatabaseNow()
        elif field.null:
            columns[bound.column] = None
        elif bound.instead is None:
            return None
        else:
            columns[bound.column] = DatabaseNow() if bound.instead is NOW else bound.instead
    if model is Schedule:
        columns |= {"is_paused": True, "next_tick": None}
    return columns

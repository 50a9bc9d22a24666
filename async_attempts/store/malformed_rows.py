"""Malformed rows, whose values no worker can read or count up: failed or mended, one by one.

The tables' checks refuse such values; a table may have been made without them, or have lost them.
A statement over many rows fails for one of them, and doesn't say for which.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from functools import reduce
from operator import or_
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.db import Error
from django.db.models import Model, Q
from django.db.models.lookups import Exact

from ..ids import uuid7
from ..lifecycle import FINAL, LIVE, Status
from ..models import (
    DatabaseNow,
    Dependency,
    Failure,
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
from .claim_trials import Trials
from .database import Database
from .dialects.base import Dialect
from .expressions import ended
from .limits import Limits
from .transactions import is_about_a_value

logger = logging.getLogger("async_attempts")

MENDED_AT_A_TIME: Final = 1000

SMALL_TABLES: Final[tuple[type[Model], ...]] = (Schedule, Worker, Queue, Slot, Tally)
LARGE_TABLES: Final[tuple[type[Model], ...]] = (Dependency, Failure)

COUNTED_BY_CLAIMS: Final = (
    Bound("num_attempts", AreInRange("num_attempts", low=0, high=MOST_COUNTED - 1), 0),
    Bound("claim_seq", AreInRange("claim_seq", low=0, high=MOST_CLAIMS - 1), 0),
)
"""The columns that a claim counts up: at its maximum a number passes the table's checks, and the
claim fails."""

_COUNTED: Final = {bound.column for bound in COUNTED_BY_CLAIMS}


class Malformed(NamedTuple):
    """A row that was set aside: its table, its key as the database has it, and what is wrong."""

    table: str
    key: Any
    problem: str
    has_failed: bool = False
    is_deleted: bool = False

    def __str__(self) -> str:
        done = "was deleted" if self.is_deleted else "was mended"
        if self.has_failed:
            done = "has failed"
        return f"{self.table} {self.key!r:.80} {done}: {self.problem}"


class MalformedRows:
    """Set malformed rows aside, each by a statement of its own, so that no other makes it fail."""

    def __init__(
        self, database: Database, dialect: Dialect, limits: Limits, trials: Trials
    ) -> None:
        self.database = database
        self.dialect = dialect
        self.limits = limits
        self.trials = trials

    def set_aside(
        self, worker_id: UUID | None = None, queues: Collection[str] = ()
    ) -> list[Malformed]:
        """Fail the live attempts, and mend the other rows, that no worker can handle.

        Call it after an error that a value may have caused: see `is_about_a_value`. Rows that break
        the tables' checks come first. If there are none, the next attempts of `queues` are claimed
        by `worker_id` in transactions that are rolled back: see `Trials`.
        """
        found = self._out_of_bounds(self.database.model, Q(status__in=LIVE))
        for model in SMALL_TABLES:
            found += self._out_of_bounds(model)
        if found:
            return found
        found = self._out_of_bounds(self.database.model, Q(status__in=FINAL))
        for model in LARGE_TABLES:
            found += self._out_of_bounds(model)
        return found or self._fail_unclaimable(worker_id, queues)

    def mend_schedules(self) -> list[Malformed]:
        """Pause the schedules whose values no worker can read; returns them."""
        return self._out_of_bounds(Schedule)

    def _out_of_bounds(self, model: type[Model], which: Q | None = None) -> list[Malformed]:
        """Set aside rows that break a table's checks, and attempts that no claim can count up."""
        bounds = bounds_of(model, self.database.connection)
        if model is self.database.model:
            bounds = [one for one in bounds if one.column not in _COUNTED] + [*COUNTED_BY_CLAIMS]
        if not bounds:
            return []
        broken = [IsMalformed(bound.condition) for bound in bounds]
        flags = {f"is_malformed_{number}": each for number, each in enumerate(broken)}
        is_broken = reduce(or_, map(Q, broken))
        rows = self.database.rows(model).filter(is_broken, which or Q())
        is_attempt = model is self.database.model
        others = ("status",) if is_attempt else ()
        found = rows.annotate(raw_key=self.dialect.raw_key).values_list(
            "raw_key", *others, *flags.values()
        )
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
        """Fail one attempt; None if it has ended or been mended meanwhile, or can't even fail.

        The sweep closes the dependencies on it, as its id may be what is malformed.
        """

        def work() -> int:
            columns = mended | ended(Status.FAILED, reason=problem, blockers=0)
            mine = self._one_by_key(key).filter(still or Q(), status__in=LIVE)
            failed: int = mine.update(**columns)
            return failed

        table = str(self.database.model._meta.verbose_name)
        if not self._done(work, table, key):
            return None
        self.limits.unpark({self._limit_key_of(key)})
        return Malformed(table, key, problem, has_failed=True)

    def _limit_key_of(self, key: Any) -> str:
        """Return its limit key; "" if that is malformed."""
        try:
            return self._one_by_key(key).values_list("limit_key", flat=True).first() or ""
        except Error as error:
            if not is_about_a_value(error):
                raise
            return ""

    def _mend(
        self, model: type[Model], key: Any, problem: str, columns: dict[str, Any] | None
    ) -> Malformed | None:
        """Replace the malformed values of one row.

        `columns`: None deletes the row, as nothing can replace them.
        """
        row = self.database.rows(model).filter(Exact(self.dialect.raw_key, key))

        def work() -> int:
            if columns is None:
                return row._raw_delete(self.database.alias) or 1
            return row.update(**columns)

        table = str(model._meta.verbose_name)
        if not self._done(work, table, key):
            return None
        return Malformed(table, key, problem, is_deleted=columns is None)

    def _done(self, work: Callable[[], int], table: str, key: Any) -> bool:
        """Do `work`; False if the project's own checks refuse its row, or there is none."""
        try:
            return bool(self.database.in_transaction(work))
        except Error as error:
            if not is_about_a_value(error):
                raise
            logger.error("%s %.80r can't be set aside: %s", table, key, type(error).__name__)
            return False

    def _fail_unclaimable(self, worker_id: UUID | None, queues: Collection[str]) -> list[Malformed]:
        """Fail the due attempts that can't be claimed or promoted for what they hold."""
        failed = (
            self._fail(one.key, f"it can't be claimed: {type(one.error).__name__}", {}, one.state)
            for one in self.trials.refused(worker_id, queues)
        )
        return [one for one in failed if one is not None]

    def _one_by_key(self, key: Any) -> Any:
        return self.database.attempts.filter(Exact(self.dialect.raw_key, key))


def _mended(model: type[Model], wrong: Sequence[Bound]) -> dict[str, Any] | None:
    """Return the values that replace malformed ones; None if nothing can replace one of them."""
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

"""People's verbs on sets of attempts: guarded by status, in batches, skipping what is locked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.db import transaction
from django.db.models import (
    Case,
    Count,
    DateTimeField,
    ExpressionWrapper,
    F,
    Q,
    TextField,
    Value,
    When,
)

from ..batches import in_batches
from ..exceptions import InvalidOption
from ..lifecycle import FINAL, RUNNING, Status, sources_of
from ..models import AttemptQuerySet, DatabaseNow
from ..models import Changes as Changed
from ..models.clock import SpreadOut
from ..models.validation import as_seconds, check_moment, check_reason, spread_seconds
from .database import Database
from .dependencies import Dependencies
from .ends import Ends
from .expressions import ended, seconds_from_now, status_when_due

BATCH: Final = 2000
RUNNING_ATOMICALLY: Final = "running atomically"
CANCELLED: Final = "cancelled"


class Changes:
    """The moves that people make."""

    def __init__(self, database: Database, dependencies: Dependencies, ends: Ends) -> None:
        self.database = database
        self.dependencies = dependencies
        self.ends = ends

    def expire(self, attempts: AttemptQuerySet[Any], reason: str = "") -> Changed:
        """Expire the attempts that haven't ended."""
        return self._end(attempts, "expire", Status.EXPIRED, reason)

    def fail(self, attempts: AttemptQuerySet[Any], reason: str = "") -> Changed:
        """Fail the attempts that haven't ended."""
        return self._end(attempts, "fail", Status.FAILED, reason)

    def _end(
        self, attempts: AttemptQuerySet[Any], verb: str, status: Status, reason: str
    ) -> Changed:
        check_reason(reason)
        return self._change(attempts, verb, ended(status, reason=reason, blockers=0))

    def retry(
        self,
        attempts: AttemptQuerySet[Any],
        at: datetime | None = None,
        spread: timedelta | float | None = None,
    ) -> Changed:
        """Make the failed and the expired due again, now or `at`, or within `spread` from then.

        An `expires_at` that has passed is taken away: it would expire them at once.
        """
        check_moment("at", at)
        seconds = spread_seconds(spread)
        due = DatabaseNow() if at is None else at
        status = Status.PENDING if at is None else status_when_due(at)
        columns = {
            # Some of the spread attempts are due later, and a promote tells which.
            "status": Status.SCHEDULED if seconds else status,
            "scheduled_at": SpreadOut(due, seconds) if seconds else due,
            "expires_at": Case(When(expires_at__gt=DatabaseNow(), then=F("expires_at"))),
            "reason": "",
            "num_attempts": 0,
            "num_crashes": 0,
            "num_snoozes": None,
            "failure_kind": None,
            "claimed_by": None,
            "cancel_requested": False,
            "cancel_reason": None,
            "interrupt": None,
            "started_at": None,
            "completed_at": None,
            "progress": None,
            "progress_note": "",
        }
        return self._change(attempts, "retry", columns)

    def reschedule(
        self,
        attempts: AttemptQuerySet[Any],
        at: datetime | timedelta | None = None,
        by: timedelta | None = None,
    ) -> Changed:
        """Let what waits be due `at` a moment, or move it `by` a timedelta.

        What waits for other attempts goes on to, and is due then at the earliest. What waits for a
        slot leaves its place: a claim parks it again.
        """
        due = _new_time(at, by)
        for_others = Q(status=Status.WAITING, blockers__gt=0)
        columns = {
            # First: MariaDB and MySQL assign in this order, and the old time tells the status.
            "status": Case(When(for_others, then=F("status")), default=status_when_due(due)),
            "scheduled_at": due,
        }
        return self._change(attempts, "reschedule", columns)

    def request_cancel(
        self, attempts: AttemptQuerySet[Any], reason: str = "", *, interrupt: bool = False
    ) -> Changed:
        """Expire what isn't running; ask what is running to stop, or have it interrupted."""
        check_reason(reason)
        said = _text(reason or CANCELLED)
        running = Q(status=Status.PENDING, claimed_by__isnull=False)
        columns = {
            "cancel_requested": True,
            "cancel_reason": reason or None,
            "interrupt": True if interrupt else F("interrupt"),
            "status": Case(When(running, then=F("status")), default=Value(Status.EXPIRED)),
            "completed_at": Case(When(running, then=Value(None)), default=DatabaseNow()),
            "reason": Case(When(running, then=F("reason")), default=said),
            "blockers": 0,
        }
        return self._change(attempts, "expire", columns)

    def _change(
        self, attempts: AttemptQuerySet[Any], verb: str, columns: dict[str, Any]
    ) -> Changed:
        sources = sources_of(verb)
        if not attempts.query.is_sliced:
            return self._change_all(attempts, sources, columns)
        # The rows of a slice are settled once, and only their ids are held.
        ids = list(dict.fromkeys(attempts.values_list("pk", flat=True)))
        changed, left = 0, Counter[str]()
        for part in in_batches(ids, BATCH):
            rows = self.database.attempts.filter(pk__in=part)
            changes = self._change_all(rows, sources, columns)
            changed += changes.changed
            left.update(changes.left)
        return Changed(changed, dict(left))

    def _change_all(
        self,
        attempts: AttemptQuerySet[Any],
        sources: Collection[str | None],
        columns: dict[str, Any],
    ) -> Changed:
        # Without what is enqueued from now on: beside busy callers this would never end.
        matching = (
            attempts.using(self.database.alias)
            .order_by()
            .filter(created_at__lte=self.database.now())
        )
        there = _count_states(matching)
        changed: Counter[str] = Counter()
        last: UUID | None = None
        while True:
            states, last = self._change_batch(matching, sources, columns, last)
            if last is None:
                return Changed(changed.total(), _left(there - changed, sources))
            changed += states

    def _change_batch(
        self,
        matching: AttemptQuerySet[Any],
        sources: Collection[str | None],
        columns: dict[str, Any],
        after: UUID | None,
    ) -> tuple[Counter[str], UUID | None]:
        """Change the next rows after `after`; returns their old states and the last one's id."""
        movable = _in(sources)
        here = matching.filter(movable)
        here = here if after is None else here.filter(pk__gt=after)
        with transaction.atomic(self.database.alias):
            wanted = list(here.order_by("pk").values_list("pk", flat=True)[:BATCH])
            locked = self.database.lock_free(self.database.attempts.filter(pk__in=wanted))
            # Asked again of what can't change any more: "all pending ones" spares the just claimed.
            found = here.filter(pk__in=locked).values_list("pk", "status", "claimed_by")
            states = {
                pk: _state(status, claimed_by is not None) for pk, status, claimed_by in found
            }
            changed = self.database.attempts.filter(movable, pk__in=states).update(**columns)
            if changed and FINAL.issuperset(sources):
                self.dependencies.reopen(states)
                self.database.notify_due()
            elif changed and RUNNING not in sources:
                self.database.notify_due()
            else:
                self.ends.note(states)
                self.dependencies.close_when_committed(self.dependencies.with_dependents(states))
        return Counter(states.values()), wanted[-1] if wanted else None


def _in(sources: Collection[str | None]) -> Q:
    """Return the condition that an attempt is in one of these states."""
    statuses = Q(status__in=[status for status in Status.values if status in sources])
    if Status.PENDING in sources and RUNNING not in sources:
        return statuses & Q(claimed_by=None)
    return statuses


def _new_time(at: Any, by: Any) -> Any:
    """Return the moment at which a moved attempt is due, an expression. Raises InvalidOption."""
    if (at is None) == (by is None):
        raise InvalidOption("reschedule: give either at, a new time, or by, a timedelta.")
    if by is not None:
        if not isinstance(by, timedelta) or as_seconds("by", by) is None:
            raise InvalidOption(f"by: must be a timedelta, not {by!r}.")
        return ExpressionWrapper(F("scheduled_at") + by, output_field=DateTimeField())
    if (seconds := as_seconds("at", at)) is not None:
        return seconds_from_now(seconds)
    check_moment("at", at)
    return Value(at, output_field=DateTimeField())


def _text(value: str) -> Value:
    return Value(value, output_field=TextField())


def _state(status: str, is_claimed: bool) -> str:
    return RUNNING if status == Status.PENDING and is_claimed else status


def _count_states(attempts: AttemptQuerySet[Any]) -> Counter[str]:
    running = Case(When(claimed_by=None, then=Value(False)), default=Value(True))
    groups = attempts.annotate(claimed=running).values_list("status", "claimed")
    counts: Counter[str] = Counter()
    # A join may have brought a row several times.
    for status, claimed, n in groups.annotate(n=Count("pk", distinct=True)):
        counts[_state(status, claimed)] += n
    return counts


def _left(counts: Counter[str], sources: Collection[str | None]) -> dict[str, int]:
    """Return why each of the rest was left: its state, or that a transaction holds it."""
    return {
        RUNNING_ATOMICALLY if state == RUNNING and RUNNING in sources else state: n
        for state, n in counts.items()
    }

"""Queues: what their limits leave to claims, what they take from callers, and which are paused."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.db import transaction
from django.db.models import F, Q

from ..batches import in_batches
from ..conf import bounded_queues, limits
from ..exceptions import QueueFull
from ..lifecycle import Status
from ..limits import UNLIMITED, Bucket, Limits
from ..models import QUEUE_ITSELF, AbstractAttempt, DatabaseNow, Queue, Slot
from .claimed import Claim, Selection
from .database import Database
from .dialects.base import Dialect
from .expressions import without
from .limits import PAUSES
from .limits import Limits as KeyLimits

LOCKED_PAUSE: Final = 0.02
"""Seconds after which a queue that another worker is claiming of is tried again."""

UNCOUNTED: Final = 4
"""A count serves for a fourth of the room that it found: to count each time takes longer the fuller
a queue is."""

COUNT_SERVES: Final = 1.0
"""Seconds."""


class Taken(NamedTuple):
    """The claims that were taken of a queue with limits.

    `is_held_back`: True if the limits left less than was wanted. `seconds`: until they leave more;
    None: when an attempt of it ends.
    """

    claims: Sequence[Claim]
    is_held_back: bool = False
    seconds: float | None = None


class Room(NamedTuple):
    """The room that the limits of a queue leave at a moment; None: it has no such limit.

    `slots`: how many more may run. `seconds`: until its rate lets the next one begin.
    """

    slots: int | None = None
    seconds: float | None = None


def limits_of_queue(queue: str) -> Limits:
    """Return the limits by the settings in force."""
    return limits().get(queue, UNLIMITED)


class Queues:
    """The rows of queues: from pending to running as far as the limits of a queue allow."""

    def __init__(self, database: Database, dialect: Dialect, limits: KeyLimits) -> None:
        self.database = database
        self.dialect = dialect
        self.limits = limits
        self._room: dict[tuple[str, int], tuple[float, int]] = {}
        """The end of a count, and how many it still lets in, by queue and its limit."""

    # --- claims

    def claim(
        self, worker_id: UUID, which: Selection, limit: int, queue: str, *, rated: bool = True
    ) -> Taken:
        """Claim the best of `which`, of `queue`, as far as its limits allow."""
        own = limits_of_queue(queue)
        bucket = own.bucket if rated else None

        def work() -> Taken:
            # Claims of this queue, and counts of its tokens, hold its row.
            row = self._locked_queue(queue)
            if row is None:
                return Taken((), is_held_back=True, seconds=LOCKED_PAUSE)
            tokens = _tokens(bucket, row) if bucket else float(limit)
            free = self._free_slots(queue, own.concurrency)
            most = limit if free is None else min(limit, len(free))
            room = min(most, int(tokens))
            claims = self.dialect.claim_within(worker_id, which, room) if room else []
            if free and claims:
                self.limits.occupy(list(zip(free, claims, strict=False)))
            # A clock that went back, as after a failover, would leave the bucket as it is for long.
            if bucket and (claims or (row.tokens_at and row.now < row.tokens_at)):
                left = tokens - len(claims)
                self.database.queues.filter(pk=queue).update(tokens=left, tokens_at=row.now)
            wait = bucket.seconds(tokens - len(claims)) if bucket and room < most else None
            return Taken(claims, is_held_back=len(claims) == room < limit, seconds=wait)

        return self.database.in_transaction(work)

    def room(self, queue: str) -> Room:
        """Return what the limits of a queue leave now; reads only, and may be over at once."""
        own = limits_of_queue(queue)
        free = seconds = None
        if own.concurrency is not None:
            slots = list(self.database.slots.filter(queue=queue, key=QUEUE_ITSELF))
            free = max(0, own.concurrency - len(slots) + len(self.limits.free(slots)))
        if own.bucket is not None:
            row = self.database.queues.filter(pk=queue).annotate(now=DatabaseNow()).first()
            seconds = own.bucket.seconds(_tokens(own.bucket, row)) if row else 0.0
        return Room(free, seconds)

    def give_tokens_back(self, queue: str, number: int) -> None:
        """Give back the tokens of executions that were claimed of this queue and won't begin.

        While its row stays locked they are lost: nobody waits for a worker that is frozen.
        """
        if limits_of_queue(queue).bucket is None:
            return
        mine = self.database.queues.filter(pk=queue, tokens__isnull=False)

        def work() -> bool:
            if not list(self.database.skipping_locked(mine).values_list("pk")):
                return not mine.exists()
            mine.update(tokens=F("tokens") + number)
            return True

        for pause in (*PAUSES, None):
            if self.database.in_transaction(work) or pause is None:
                return
            time.sleep(pause)

    def any_suspect_fits(self, queues: Sequence[str], passed_over: Collection[bytes] = ()) -> bool:
        """Return True if a suspect is due whose queue's limits leave something for it just now.

        Nothing is locked: a claim may find it otherwise. `passed_over`: as for a claim.
        """
        limited = [queue for queue in queues if limits_of_queue(queue).of_claims]
        if not limited:
            return True
        others = [queue for queue in queues if queue not in limited]
        suspects = without(self.dialect.due(Q(num_crashes__gt=0)), passed_over)
        if others and suspects.filter(queue__in=others).exists():
            return True
        rooms = (self.room(queue) for queue in limited if suspects.filter(queue=queue).exists())
        return any(slots != 0 and not seconds for slots, seconds in rooms)

    def _locked_queue(self, queue: str) -> Any:
        """Lock the queue's row and return it with `now`; None while another worker has it."""
        mine = self.database.queues.filter(pk=queue).annotate(now=DatabaseNow())
        row = mine.select_for_update(skip_locked=True).first()
        if row is None and not mine.exists():
            self.database.queues.bulk_create([Queue(name=queue)], ignore_conflicts=True)
            row = mine.select_for_update(skip_locked=True).first()
        return row

    def _free_slots(self, queue: str, number: int | None) -> list[Slot] | None:
        """Return the free slots of a queue, whose row is locked; None: it has no limit."""
        if number is None:
            return None
        mine = self.database.slots.filter(queue=queue, key=QUEUE_ITSELF)
        slots = list(mine.order_by("number"))
        if missing := set(range(number)) - {slot.number for slot in slots}:
            new = [Slot(queue=queue, number=one) for one in sorted(missing)]
            self.database.slots.bulk_create(new)
            # MySQL doesn't say the ids of new rows.
            slots = list(mine.order_by("number"))
        free = self.limits.free(slots)
        held = len(slots) - len(free)
        # Slots beyond it are of a release that allowed more: the held ones still count.
        self.dialect.delete(Slot, [slot.pk for slot in free if slot.number >= number])
        return [slot for slot in free if slot.number < number][: max(0, number - held)]

    # --- backpressure

    def require_room(self, attempts: Sequence[AbstractAttempt]) -> None:
        """Raise QueueFull if one of their queues has too many pending for these beside them.

        What waits for others to end is let in, and so are the ticks of schedules.
        """
        bounded = bounded_queues()
        if not bounded:
            return
        new = Counter(
            attempt.queue
            for attempt in attempts
            if attempt.queue in bounded and not attempt.edges and attempt.schedule is None
        )
        for queue, number in new.items():
            self._require_room(queue, bounded[queue], number, attempts)

    def _require_room(
        self, queue: str, most: int, new: int, attempts: Sequence[AbstractAttempt]
    ) -> None:
        until, room = self._room.get((queue, most), (0.0, 0))
        if room >= new and time.monotonic() < until:
            self._room[queue, most] = until, room - new
            return
        # No more than that are counted, however many there are.
        pending = self.database.attempts.filter(queue=queue, status=Status.PENDING)[:most].count()
        left = most - pending - new
        if left < 0 and left + self._there_already(queue, attempts) < 0:
            raise QueueFull(queue, most, new)
        self._room[queue, most] = time.monotonic() + COUNT_SERVES, max(0, left) // UNCOUNTED

    def _there_already(self, queue: str, attempts: Sequence[AbstractAttempt]) -> int:
        """Return the number of those of this queue whose token has a row already."""
        mine = (a for a in attempts if a.queue == queue and not a.edges and a.schedule is None)
        keys = {attempt.unique_key for attempt in mine} - {None}
        rows = self.database.attempts
        return sum(rows.filter(unique_key__in=some).count() for some in in_batches(sorted(keys)))

    # --- pauses

    def declare(self, names: Iterable[str]) -> None:
        """Write the rows of these queues that aren't there, so that people find them."""
        wanted = sorted(names)
        there = set(self.database.queues.filter(pk__in=wanted).values_list("pk", flat=True))
        if missing := [Queue(name=name) for name in wanted if name not in there]:
            self.database.queues.bulk_create(missing, ignore_conflicts=True)

    def set_paused(self, name: str, *, paused: bool) -> None:
        """Pause a queue or resume it; in the caller's transaction."""
        by_settings = limits().get(name, UNLIMITED).paused
        said = paused if paused or by_settings else None
        with transaction.atomic(self.database.alias):
            self.declare([name])
            self.database.queues.filter(pk=name).update(is_paused=said)
            self.database.notify_due()


def _tokens(bucket: Bucket, row: Any) -> float:
    """Return the number of tokens that a queue has at its row's `now`."""
    if row.tokens is None or row.tokens_at is None:
        return float(bucket.burst)
    return bucket.filled(row.tokens, (row.now - row.tokens_at).total_seconds())

"""The limits of queues: how many of its attempts run at once, and how often one begins."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Collection, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.db.models import F, Q

from ..conf import limits
from ..lifecycle import Status
from ..limits import UNLIMITED, Bucket, Limits
from ..models import QUEUE_ITSELF, DatabaseNow, Queue, Slot
from .claims import Claim
from .headers import without
from .placing import PAUSES, Placing

LOCKED_PAUSE: Final = 0.02
"""Seconds after which a queue that another worker is claiming of is tried again."""


class Which(NamedTuple):
    """Which pending attempts a claim is to take: a condition in SQL and its parameter.

    `passed_over`: headers of sealed arguments, which attempts must not have.
    """

    sql: str
    param: Any
    passed_over: Collection[bytes] = ()


class Taken(NamedTuple):
    """What a claim took of a queue with limits.

    `is_held_back`: whether the limits left less than was wanted. `seconds`: until they leave more;
    None: when an attempt of it ends.
    """

    claims: Sequence[Claim]
    is_held_back: bool = False
    seconds: float | None = None


class Room(NamedTuple):
    """What the limits of a queue leave at a moment; None: it has no such limit.

    `places`: how many more may run. `seconds`: until its rate lets the next one begin.
    """

    places: int | None = None
    seconds: float | None = None


def limits_of_queue(queue: str) -> Limits:
    """The limits by the settings in force."""
    return limits().get(queue, UNLIMITED)


class Limiting(Placing):
    """From pending to running as far as the limits of a queue allow."""

    @abstractmethod
    def _claim_within(self, worker_id: UUID, which: Which, limit: int) -> list[Claim]:
        """Claim the best of `which`, late or not, in the transaction that is open."""

    def _claim_where(self, worker_id: UUID, which: Which, limit: int) -> list[Claim]:
        """As `_claim_within`, in a transaction of its own."""
        return self.whole(lambda: self._claim_within(worker_id, which, limit))

    def due(self, which: Q) -> Any:
        """Those attempts among `which` that may be claimed now."""
        return self.attempts.filter(
            which, status=Status.PENDING, claimed_by=None, scheduled_at__lte=DatabaseNow()
        )

    def claim_limited(
        self, worker_id: UUID, which: Which, limit: int, queue: str, *, rated: bool = True
    ) -> Taken:
        """Claim the best of `which`, of `queue`, as far as its limits allow."""
        own = limits_of_queue(queue)
        bucket = own.bucket if rated else None

        def work() -> Taken:
            # Whoever claims of this queue, or counts its tokens, holds its row.
            row = self._locked_queue(queue)
            if row is None:
                return Taken((), is_held_back=True, seconds=LOCKED_PAUSE)
            tokens = _tokens(bucket, row) if bucket else float(limit)
            free = self._free_places(queue, own.concurrency)
            most = limit if free is None else min(limit, len(free))
            room = min(most, int(tokens))
            claims = self._claim_within(worker_id, which, room) if room else []
            if free and claims:
                self._occupy(list(zip(free, claims, strict=False)))
            # A clock that went back, as after a failover, would leave the bucket as it is for long.
            if bucket and (claims or (row.tokens_at and row.now < row.tokens_at)):
                left = tokens - len(claims)
                self.queues.filter(pk=queue).update(tokens=left, tokens_at=row.now)
            wait = bucket.seconds(tokens - len(claims)) if bucket and room < most else None
            return Taken(claims, is_held_back=len(claims) == room < limit, seconds=wait)

        return self.whole(work)

    def room(self, queue: str) -> Room:
        """What the limits of a queue leave now; reads only, and may be over at once."""
        own = limits_of_queue(queue)
        places = seconds = None
        if own.concurrency is not None:
            slots = list(self.slots.filter(queue=queue, key=QUEUE_ITSELF))
            places = max(0, own.concurrency - len(slots) + len(self._free(slots)))
        if own.bucket is not None:
            row = self.queues.filter(pk=queue).annotate(now=DatabaseNow()).first()
            seconds = own.bucket.seconds(_tokens(own.bucket, row)) if row else 0.0
        return Room(places, seconds)

    def give_tokens_back(self, queue: str, number: int) -> None:
        """So many executions that were claimed of it aren't to begin.

        While its row stays locked they are lost: nobody waits for a worker that is frozen.
        """
        if limits_of_queue(queue).bucket is None:
            return
        mine = self.queues.filter(pk=queue, tokens__isnull=False)

        def work() -> bool:
            if not list(self.skipping_locked(mine).values_list("pk")):
                return not mine.exists()
            mine.update(tokens=F("tokens") + number)
            return True

        for pause in (*PAUSES, None):
            if self.whole(work) or pause is None:
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
        suspects = without(self.due(Q(num_crashes__gt=0)), passed_over)
        if others and suspects.filter(queue__in=others).exists():
            return True
        return any(
            suspects.filter(queue=queue).exists() and self._leaves_room(queue) for queue in limited
        )

    def _leaves_room(self, queue: str) -> bool:
        own = limits_of_queue(queue)
        if own.concurrency is not None:
            slots = list(self.slots.filter(queue=queue, key=QUEUE_ITSELF))
            if len(slots) - len(self._free(slots)) >= own.concurrency:
                return False
        row = self.queues.filter(pk=queue).annotate(now=DatabaseNow()).first()
        return row is None or own.bucket is None or _tokens(own.bucket, row) >= 1

    def _locked_queue(self, queue: str) -> Any:
        """The queue's row with the database's `now`, locked; None while another worker has it."""
        mine = self.queues.filter(pk=queue).annotate(now=DatabaseNow())
        row = mine.select_for_update(skip_locked=True).first()
        if row is None and not mine.exists():
            self.queues.bulk_create([Queue(name=queue)], ignore_conflicts=True)
            row = mine.select_for_update(skip_locked=True).first()
        return row

    def _free_places(self, queue: str, number: int | None) -> list[Slot] | None:
        """The places of a queue, whose row is locked, that nobody holds; None: no limit."""
        if number is None:
            return None
        mine = self.slots.filter(queue=queue, key=QUEUE_ITSELF)
        slots = list(mine.order_by("number"))
        if missing := set(range(number)) - {slot.number for slot in slots}:
            self.slots.bulk_create(Slot(queue=queue, number=one) for one in sorted(missing))
            # MySQL doesn't say the ids of new rows.
            slots = list(mine.order_by("number"))
        free = self._free(slots)
        held = len(slots) - len(free)
        # Those beyond it are of a release that allowed more: who holds one still counts.
        self.delete_slots([slot.pk for slot in free if slot.number >= number])
        return [slot for slot in free if slot.number < number][: max(0, number - held)]


def _tokens(bucket: Bucket, row: Any) -> float:
    """How many a queue has at its row's `now`."""
    if row.tokens is None or row.tokens_at is None:
        return float(bucket.burst)
    return bucket.filled(row.tokens, (row.now - row.tokens_at).total_seconds())

"""Places: who holds one holds it as long as its claim is not over.

Nothing is counted up and down, so a worker that dies leaves nothing behind but its claims, and
their places are free when those are taken back.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final
from uuid import UUID

from django.db.models import F, QuerySet

from ..lifecycle import Status
from ..models import AttemptQuerySet, Slot, key_of_limit
from .claims import Claim
from .depending import in_batches
from .finishing import Finishing

FORGOTTEN_AT_ONCE: Final = 1000


class Placing(Finishing):
    """From running to waiting for a place of a limit key, and from there to pending."""

    @property
    def slots(self) -> QuerySet[Slot]:
        return Slot._base_manager.using(self.alias)

    def with_places(self, worker_id: UUID, claims: Sequence[Claim]) -> list[Claim]:
        """Those of `claims` that have a place under their limit key; the others wait for one."""
        keyed = [claim for claim in claims if claim.limit_key]
        if not keyed:
            return list(claims)
        rows = self.attempts.filter(pk__in=[claim.id for claim in keyed])
        # Not in the transaction: at REPEATABLE READ it would judge by what it saw before it locked.
        most = {pk: number or 1 for pk, number in rows.values_list("pk", "concurrency")}
        placed = self.whole(partial(self._place, worker_id, keyed, most))
        return [c for c in claims if not c.limit_key or c.id_bytes in placed]

    def _place(
        self, worker_id: UUID, claims: Sequence[Claim], most: Mapping[UUID, int]
    ) -> set[bytes]:
        numbers: defaultdict[bytes, int] = defaultdict(int)
        for claim in claims:
            key = key_of_limit(claim.limit_key)
            numbers[key] = max(numbers[key], most.get(claim.id, 1))
        slots = self._locked_places(numbers)
        held = Counter(bytes(slot.key) for slot in slots)
        free: defaultdict[bytes, list[Slot]] = defaultdict(list)
        for slot in self._free(slots):
            free[bytes(slot.key)].append(slot)
            held[bytes(slot.key)] -= 1
        placed: list[tuple[Slot, Claim]] = []
        left: list[Claim] = []
        for claim in claims:
            key = key_of_limit(claim.limit_key)
            # Places beyond its own concurrency may be held by others of its key: they count.
            if free[key] and held[key] < most.get(claim.id, 1):
                placed.append((free[key].pop(0), claim))
                held[key] += 1
            else:
                left.append(claim)
        if placed:
            self._occupy(placed)
        self._park(worker_id, left)
        return {claim.id_bytes for _, claim in placed}

    def _locked_places(self, numbers: dict[bytes, int]) -> list[Slot]:
        """The places of these keys, so many of each, locked in their order."""
        mine = self.slots.filter(queue="", key__in=list(numbers))
        locked = mine.order_by("key", "number").select_for_update()
        slots = list(locked)
        there = {(bytes(slot.key), slot.number) for slot in slots}
        wanted = {(key, one) for key, most in numbers.items() for one in range(most)}
        if missing := sorted(wanted - there):
            new = [Slot(key=key, number=number) for key, number in missing]
            self.slots.bulk_create(new, ignore_conflicts=True)
            slots = list(locked.all())
        return slots

    def _park(self, worker_id: UUID, claims: Sequence[Claim]) -> None:
        """Let these wait for a place, their counts given back."""
        by_seq: defaultdict[int, list[UUID]] = defaultdict(list)
        for claim in claims:
            by_seq[claim.claim_seq].append(claim.id)
        for seq, ids in by_seq.items():
            self._fenced(worker_id, seq, sorted(ids)).update(
                status=Status.WAITING,
                claimed_by=None,
                started_at=None,
                num_attempts=F("num_attempts") - 1,
            )

    def wake(self, keys: Iterable[str], queues: Collection[str] | None = None) -> int:
        """Let those of these limit keys that wait for a place and find one be due; how many.

        `queues`: of these queues only.
        """
        wanted = sorted(set(keys))
        return sum(self.whole(partial(self._wake, some, queues)) for some in in_batches(wanted))

    def wake_all(self, queues: Collection[str] | None = None) -> int:
        """`wake` for every key that somebody waits for: what nobody came to wake."""
        return self.wake(self._keys_of(self._waiting(queues).filter(limit_key__gt="")), queues)

    def _waiting(self, queues: Collection[str] | None) -> AttemptQuerySet[Any]:
        waiting = self.attempts.filter(status=Status.WAITING, blockers=0)
        return waiting if queues is None else waiting.filter(queue__in=queues)

    def _wake(self, keys: Sequence[str], queues: Collection[str] | None) -> int:
        # Who parks holds these locks: what is parked is seen here, or sees what has ended.
        digests = {key: key_of_limit(key) for key in keys}
        mine = self.slots.filter(queue="", key__in=list(digests.values()))
        slots = list(mine.order_by("key", "number").select_for_update())
        free = {slot.pk for slot in self._free(slots)}
        places = Counter(bytes(slot.key) for slot in slots)
        held = Counter(bytes(slot.key) for slot in slots if slot.pk not in free)
        waiting = self._waiting(queues)
        there = self._keys_of(waiting.filter(limit_key__in=keys))
        woken: list[UUID] = []
        for key in there.intersection(keys):
            busy = held[digests[key]]
            room = max(1, places[digests[key]] - busy)
            rows = self._of_key(waiting, key).order_by("-priority", "scheduled_at", "id")
            rows = rows.select_for_update(skip_locked=True)
            for pk, most in rows.values_list("pk", "concurrency")[:room]:
                if busy < (most or 1):
                    woken.append(pk)
                    busy += 1
        self.attempts.filter(pk__in=woken, status=Status.WAITING, blockers=0).update(
            status=Status.PENDING
        )
        if woken:
            self.pass_gate()
        return len(woken)

    def _keys_of(self, attempts: AttemptQuerySet[Any]) -> set[str]:
        """The limit keys that they have."""
        return set(attempts.values_list("limit_key", flat=True).distinct().order_by())

    def _of_key(self, attempts: AttemptQuerySet[Any], key: str) -> AttemptQuerySet[Any]:
        """Those of `attempts` that have this limit key."""
        return attempts.filter(limit_key=key)

    def forget_places(self) -> None:
        """Delete places of limit keys that nobody holds; who needs one makes it again."""
        last = 0
        while slots := list(
            self.slots.filter(queue="", pk__gt=last).order_by("pk")[:FORGOTTEN_AT_ONCE]
        ):
            last = slots[-1].pk
            unused = [slot.pk for slot in self._free(slots)]

            def work(unused: Sequence[int] = unused) -> None:
                mine = self.slots.filter(pk__in=unused)
                locked = list(mine.order_by("pk").select_for_update(skip_locked=True))
                self.slots.filter(pk__in=[slot.pk for slot in self._free(locked)]).delete()

            self.whole(work)

    def _free(self, slots: Sequence[Slot]) -> list[Slot]:
        """Those of these places whose holder's claim is over."""
        holders = [slot.attempt_id for slot in slots if slot.attempt_id is not None]
        running: dict[UUID, int] = {}
        for some in in_batches(holders):
            rows = self.attempts.running().filter(pk__in=some)
            running.update(rows.values_list("pk", "claim_seq"))
        return [
            slot
            for slot in slots
            if slot.attempt_id is None or running.get(slot.attempt_id) != slot.claim_seq
        ]

    def _occupy(self, places: Collection[tuple[Slot, Claim]]) -> None:
        for slot, claim in places:
            slot.attempt_id, slot.claim_seq = claim.id, claim.claim_seq
        self.slots.bulk_update([slot for slot, _ in places], ["attempt_id", "claim_seq"])

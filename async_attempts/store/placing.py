"""Places: who holds one holds it as long as its claim is not over.

Nothing is counted up and down, so a worker that dies leaves nothing behind but its claims, and
their places are free when those are taken back.
"""

from __future__ import annotations

import random
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from itertools import chain, compress
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.db.models import QuerySet
from django.db.models.constants import OnConflict

from ..lifecycle import Released, Status
from ..models import AttemptQuerySet, Slot, key_of_limit
from .claims import Claim, Claims
from .depending import in_batches
from .finishing import Finishing
from .revisits import What
from .rows import UNCOUNTED

PAUSES: Final = (0.001, 0.002, 0.004)
"""Seconds, at most, after which a claim tries again to lock the limit keys that others lock: they
do so for about as long."""

ASKED_AT_ONCE: Final = 100
ANYBODY_WAITS: Final = (
    "EXISTS (SELECT 1 FROM {attempt} WHERE status = 'waiting' AND blockers = 0 AND limit_key = %s)"
)


class Keys(NamedTuple):
    """Limit keys by their digests: the slots of those that are locked, and what others lock."""

    locked: dict[bytes, list[Slot]]
    crowded: set[bytes]


class Placing(Finishing):
    """From running to waiting for a place of a limit key, and from there to pending."""

    @property
    def slots(self) -> QuerySet[Slot]:
        return Slot._base_manager.using(self.alias)

    def with_places(self, worker_id: UUID, claims: Sequence[Claim], taken: Claims) -> list[Claim]:
        """Those of `claims` that have a place under their limit key; the others wait for one.

        `taken` is told of those that can't be made to wait, as somebody locks their rows.
        """
        keyed = [claim for claim in claims if claim.limit_key]
        if not keyed:
            return list(claims)
        rows = self.attempts.filter(pk__in=[claim.id for claim in keyed])
        # Not in the transaction: at REPEATABLE READ it would judge by what it saw before it locked.
        most = {pk: number or 1 for pk, number in rows.values_list("pk", "concurrency")}
        placed: set[bytes] = set()
        for pause in (*PAUSES, None):
            self._make_slots(keyed, most)
            found, crowded, locked = self.whole(partial(self._place, worker_id, keyed, most))
            placed |= found
            taken.unrecorded += [(claim, Released()) for claim in locked]
            keyed = [claim for claim in keyed if claim.limit_key in crowded]
            if pause is None or all(self.revisits.has(What.SLOTS, key) for key in crowded):
                break
            time.sleep(random.uniform(0.5, 1) * pause)
        if keyed:
            locked = self.whole(partial(self._park, worker_id, keyed))
            taken.unrecorded += [(claim, Released()) for claim in locked]
            # Parked without the locks: who judges with them in hand comes after it.
            self.wake({claim.limit_key for claim in keyed})
        return [c for c in claims if not c.limit_key or c.id_bytes in placed]

    def _make_slots(self, claims: Sequence[Claim], most: Mapping[UUID, int]) -> None:
        """Let each limit key have its slots.

        A statement in autocommit: others would have to wait for a transaction that inserts them.
        """
        numbers: defaultdict[bytes, int] = defaultdict(int)
        for claim in claims:
            key = key_of_limit(claim.limit_key)
            numbers[key] = max(numbers[key], most.get(claim.id, 1))
        mine = self.slots.filter(queue="", key__in=list(numbers))
        there = {(bytes(key), number) for key, number in mine.values_list("key", "number")}
        wanted = {(key, one) for key, number in numbers.items() for one in range(number)}
        slots: Any = self.slots
        for missing in in_batches(sorted(wanted - there)):
            new = [Slot(key=key, number=number) for key, number in missing]
            columns = [field for field in Slot._meta.concrete_fields if not field.primary_key]
            insert = partial(slots._insert, new, columns, using=self.alias)
            self.redone(partial(insert, on_conflict=OnConflict.IGNORE))

    def _place(
        self, worker_id: UUID, claims: Sequence[Claim], most: Mapping[UUID, int]
    ) -> tuple[set[bytes], set[str], list[Claim]]:
        """Returns what has a place now, the limit keys that others lock, and what `_park` left."""
        digests = {claim.limit_key: key_of_limit(claim.limit_key) for claim in claims}
        locked = self._lock_keys(digests.values()).locked
        held = {key: len(slots) for key, slots in locked.items()}
        free: defaultdict[bytes, list[Slot]] = defaultdict(list)
        for slot in self._free([slot for slots in locked.values() for slot in slots]):
            free[bytes(slot.key)].append(slot)
            held[bytes(slot.key)] -= 1
        placed: list[tuple[Slot, Claim]] = []
        left: list[Claim] = []
        for claim in claims:
            key = digests[claim.limit_key]
            if key not in locked:
                continue
            # Places beyond its own concurrency may be held by others of its key: they count.
            if free[key] and held[key] < most.get(claim.id, 1):
                placed.append((free[key].pop(0), claim))
                held[key] += 1
            else:
                left.append(claim)
        if placed:
            self._occupy(placed)
        passed = self._park(worker_id, left) if left else []
        crowded = {key for key, digest in digests.items() if digest not in locked}
        return {claim.id_bytes for _, claim in placed}, crowded, passed

    def _lock_keys(self, digests: Iterable[bytes]) -> Keys:
        """Lock those of these limit keys that nobody else locks, and read their slots.

        The first slot of a key is its lock.
        """
        mine = self.slots.filter(queue="", key__in=list(digests))
        first = self.skipping_locked(mine.filter(number=0).order_by("key"))
        ours = {bytes(key) for key in first.values_list("key", flat=True)}
        locked: dict[bytes, list[Slot]] = {key: [] for key in ours}
        crowded: set[bytes] = set()
        for slot in mine.order_by("key", "number"):
            if (key := bytes(slot.key)) in ours:
                locked[key].append(slot)
            elif slot.number == 0:
                # The others of a key may be left behind, made while the first one was forgotten.
                crowded.add(key)
        return Keys(locked, crowded)

    def _park(self, worker_id: UUID, claims: Sequence[Claim]) -> list[Claim]:
        """Let these wait for a place, their counts given back.

        Returns those whose rows somebody else locks; they are still held.
        """
        held = self._lock(worker_id, claims)
        by_seq: defaultdict[int, list[UUID]] = defaultdict(list)
        left: list[Claim] = []
        for claim in claims:
            if claim.id in held:
                by_seq[claim.claim_seq].append(claim.id)
            else:
                left.append(claim)
        for seq, ids in by_seq.items():
            self._fenced(worker_id, seq, sorted(ids)).update(
                status=Status.WAITING,
                claimed_by=None,
                started_at=None,
                num_attempts=UNCOUNTED,
            )
        return self._still_held(worker_id, left) if left else []

    def wake(self, keys: Iterable[str], queues: Collection[str] | None = None) -> int:
        """Let those of these limit keys that wait for a place and find one be due; how many.

        `queues`: of these queues only. A key that others lock is come back to.
        """
        woken = 0

        def work(some: Iterable[str]) -> set[str]:
            nonlocal woken
            crowded: set[str] = set()
            for part in in_batches(sorted(set(some))):
                number, locked = self.whole(partial(self._wake, part, queues))
                woken += number
                crowded |= locked
            return crowded

        self.revisits.insist(What.SLOTS, keys, work)
        return woken

    def wake_all(self, queues: Collection[str] | None = None) -> int:
        """`wake` for every key that somebody waits for: what nobody came to wake."""
        return self.wake(self._keys_of(self._waiting(queues).filter(limit_key__gt="")), queues)

    def _waiting(self, queues: Collection[str] | None) -> AttemptQuerySet[Any]:
        waiting = self.attempts.filter(status=Status.WAITING, blockers=0)
        return waiting if queues is None else waiting.filter(queue__in=queues)

    def _wake(self, keys: Sequence[str], queues: Collection[str] | None) -> tuple[int, set[str]]:
        """Returns how many were woken, and the keys that others lock."""
        # Who parks holds these locks: what is parked is seen here, or sees what has ended.
        digests = {key: key_of_limit(key) for key in keys}
        locked, crowded = self._lock_keys(digests.values())
        free = Counter(
            bytes(slot.key)
            for slot in self._free([slot for slots in locked.values() for slot in slots])
        )
        waiting = self._waiting(queues)
        woken: list[UUID] = []
        unused = {key for key, slots in locked.items() if len(slots) == free[key]}
        for key in self._waited_for([key for key in keys if digests[key] not in crowded]):
            digest = digests[key]
            places = len(locked.get(digest, ()))
            busy = places - free[digest]
            room = max(1, places - busy)
            rows = self._of_key(waiting, key).order_by("-priority", "scheduled_at", "id")
            rows = self.skipping_locked(rows)
            unused.discard(digest)
            for pk, most in rows.values_list("pk", "concurrency")[:room]:
                if busy < (most or 1):
                    woken.append(pk)
                    busy += 1
        if woken:
            self.attempts.filter(pk__in=woken, status=Status.WAITING, blockers=0).update(
                status=Status.PENDING
            )
            self.pass_gate()
        self._delete_slots(locked, unused)
        return len(woken), {key for key, digest in digests.items() if digest in crowded}

    def _waited_for(self, keys: Sequence[str]) -> list[str]:
        """Those of these limit keys, and perhaps some alike, for whose places somebody waits."""
        found: list[str] = []
        for start in range(0, len(keys), ASKED_AT_ONCE):
            some = keys[start : start + ASKED_AT_ONCE]
            asked = ", ".join([ANYBODY_WAITS.format(**self.names)] * len(some))
            with self.connection.cursor() as cursor:
                cursor.execute(f"SELECT {asked}", list(some))
                found += compress(some, cursor.fetchone())
        return found

    def _keys_of(self, attempts: AttemptQuerySet[Any]) -> set[str]:
        """The limit keys that they have."""
        return set(attempts.values_list("limit_key", flat=True).distinct().order_by())

    def _of_key(self, attempts: AttemptQuerySet[Any], key: str) -> AttemptQuerySet[Any]:
        """Those of `attempts` that have this limit key."""
        return attempts.filter(limit_key=key)

    def forget_places(self, after: int = 0, limit: int = 500) -> int | None:
        """Look at the next `limit` places after an id; delete those of keys that nobody holds.

        A key's last place goes with its last attempt; these are what dead workers left. Returns
        the id to go on after; None at the end.
        """
        slots = list(self.slots.filter(queue="", pk__gt=after).order_by("pk")[:limit])
        unused = {bytes(slot.key) for slot in self._free(slots)}

        def work() -> None:
            locked = self._lock_keys(unused).locked
            free = Counter(bytes(s.key) for s in self._free([*chain(*locked.values())]))
            self._delete_slots(locked, {k for k, mine in locked.items() if len(mine) == free[k]})

        if unused:
            self.whole(work)
        return slots[-1].pk if len(slots) == limit else None

    def _delete_slots(self, locked: Mapping[bytes, Sequence[Slot]], keys: Iterable[bytes]) -> None:
        """Delete all places of these keys, which are locked; who needs one makes it again."""
        self.delete_slots([slot.pk for key in keys for slot in locked[key]])

    def delete_slots(self, ids: Sequence[int]) -> None:
        """Delete these slots, which are locked, and touch no others."""
        for some in in_batches(ids):
            self.slots.filter(pk__in=some)._raw_delete(self.alias)

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

"""Concurrency slots of limit keys: a slot is taken while the claim that it names runs.

Nothing is counted up and down, so a worker that dies leaves nothing behind but its claims, and
their slots are free when those are taken back.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any, Final
from uuid import UUID

from django.db.models.constants import OnConflict

from ..batches import in_batches
from ..lifecycle import Released, Status
from ..models import AttemptQuerySet, Slot, key_of_limit
from ..pauses import jittered
from .claimed import Claim, Claimed
from .database import Database
from .dialects.base import Dialect
from .expressions import UNBEGUN
from .revisits import What

PAUSES: Final = (0.001, 0.002, 0.004)
"""Seconds, at most, after which a claim tries again to lock the limit keys that others lock: they
do so for about as long."""


class Limits:
    """Slots of limit keys: from running to waiting for one, and from there to pending."""

    def __init__(self, database: Database, dialect: Dialect) -> None:
        self.database = database
        self.dialect = dialect

    def take_slots(self, worker_id: UUID, claims: Sequence[Claim], taken: Claimed) -> list[Claim]:
        """Return those of `claims` that have a slot of their limit key; the others wait for one.

        `taken` is told of claims that can't be made to wait, as somebody locks their rows.
        """
        keyed = [claim for claim in claims if claim.limit_key]
        if not keyed:
            return list(claims)
        rows = self.database.attempts.filter(pk__in=[claim.id for claim in keyed])
        # Not in the transaction: at REPEATABLE READ it would judge by what it saw before it locked.
        most = {pk: number or 1 for pk, number in rows.values_list("pk", "concurrency")}
        with_slots: set[bytes] = set()
        for pause in (*PAUSES, None):
            self._make_slots(keyed, most)
            taking = partial(self._take, worker_id, keyed, most)
            found, crowded, locked = self.database.in_transaction(taking)
            with_slots |= found
            taken.unrecorded += [(claim, Released()) for claim in locked]
            keyed = [claim for claim in keyed if claim.limit_key in crowded]
            revisits = self.database.revisits
            if pause is None or all(revisits.has(What.SLOTS, key) for key in crowded):
                break
            time.sleep(jittered(pause))
        if keyed:
            locked = self.database.in_transaction(partial(self._park, worker_id, keyed))
            taken.unrecorded += [(claim, Released()) for claim in locked]
            # Parked without the locks: a claim that judges while it holds them comes after this.
            self.unpark({claim.limit_key for claim in keyed})
        return [c for c in claims if not c.limit_key or c.id_bytes in with_slots]

    def _make_slots(self, claims: Sequence[Claim], most: Mapping[UUID, int]) -> None:
        """Make the slots of each limit key that aren't there.

        A statement in autocommit: others would have to wait for a transaction that inserts them.
        """
        numbers: defaultdict[bytes, int] = defaultdict(int)
        for claim in claims:
            key = key_of_limit(claim.limit_key)
            numbers[key] = max(numbers[key], most.get(claim.id, 1))
        mine = self.database.slots.filter(queue="", key__in=list(numbers))
        there = {(bytes(key), number) for key, number in mine.values_list("key", "number")}
        wanted = {(key, one) for key, number in numbers.items() for one in range(number)}
        slots: Any = self.database.slots
        for missing in in_batches(sorted(wanted - there)):
            new = [Slot(key=key, number=number) for key, number in missing]
            columns = [field for field in Slot._meta.concrete_fields if not field.primary_key]
            insert = partial(slots._insert, new, columns, using=self.database.alias)
            self.database.retry_on_conflict(partial(insert, on_conflict=OnConflict.IGNORE))

    def _take(
        self, worker_id: UUID, claims: Sequence[Claim], most: Mapping[UUID, int]
    ) -> tuple[set[bytes], set[str], list[Claim]]:
        """Give slots to these claims, as far as there are free ones, and park the others.

        Returns the claims with slots, the limit keys that others lock, and what `_park` left.
        """
        digests = {claim.limit_key: key_of_limit(claim.limit_key) for claim in claims}
        locked, _ = self._lock_keys(digests.values())
        free = self._free_by_key(locked)
        held = {key: len(slots) - len(free[key]) for key, slots in locked.items()}
        taken: list[tuple[Slot, Claim]] = []
        left: list[Claim] = []
        for claim in claims:
            key = digests[claim.limit_key]
            if key not in locked:
                continue
            # Slots beyond its own concurrency may be held by others of its key: they count.
            if free[key] and held[key] < most.get(claim.id, 1):
                taken.append((free[key].pop(0), claim))
                held[key] += 1
            else:
                left.append(claim)
        if taken:
            self.occupy(taken)
        passed = self._park(worker_id, left) if left else []
        crowded = {key for key, digest in digests.items() if digest not in locked}
        return {claim.id_bytes for _, claim in taken}, crowded, passed

    def _lock_keys(self, digests: Iterable[bytes]) -> tuple[dict[bytes, list[Slot]], set[bytes]]:
        """Lock those of these limit keys, by their digests, that nobody else locks.

        The first slot of a key is its lock. Returns the slots of each, and the keys that others
        lock.
        """
        mine = self.database.slots.filter(queue="", key__in=list(digests))
        first = self.database.skipping_locked(mine.filter(number=0).order_by("key"))
        ours = {bytes(key) for key in first.values_list("key", flat=True)}
        locked: dict[bytes, list[Slot]] = {key: [] for key in ours}
        crowded: set[bytes] = set()
        for slot in mine.order_by("key", "number"):
            if (key := bytes(slot.key)) in ours:
                locked[key].append(slot)
            elif slot.number == 0:
                # The others of a key may be left behind, made while the first one was forgotten.
                crowded.add(key)
        return locked, crowded

    def _park(self, worker_id: UUID, claims: Sequence[Claim]) -> list[Claim]:
        """Park these: they wait for a slot, and their counts are given back.

        Returns those whose rows somebody else locks; they are still held.
        """
        held = self.dialect.lock_claimed(worker_id, claims)
        by_seq: defaultdict[int, list[UUID]] = defaultdict(list)
        left: list[Claim] = []
        for claim in claims:
            if claim.id in held:
                by_seq[claim.claim_seq].append(claim.id)
            else:
                left.append(claim)
        for seq, ids in by_seq.items():
            mine = self.database.fenced(worker_id, seq, sorted(ids))
            mine.update(status=Status.WAITING, **UNBEGUN)
        return self.database.still_held(worker_id, left) if left else []

    def unpark(self, keys: Iterable[str], queues: Collection[str] | None = None) -> int:
        """Make attempts that wait for slots of these limit keys due; returns their number.

        `keys`: "" among them stands for none. `queues`: of these queues only. A key that others
        lock is come back to.
        """
        unparked = 0

        def work(some: Iterable[str]) -> set[str]:
            nonlocal unparked
            crowded: set[str] = set()
            for part in in_batches(sorted({*some} - {""})):
                number, locked = self.database.in_transaction(partial(self._unpark, part, queues))
                unparked += number
                crowded |= locked
            return crowded

        self.database.revisits.insist(What.SLOTS, keys, work)
        return unparked

    def unpark_all(self, queues: Collection[str] | None = None) -> int:
        """`unpark` for every limit key that attempts wait for: a sweep."""
        waiting = self._waiting(queues).filter(limit_key__gt="")
        return self.unpark(self.dialect.limit_keys_of(waiting), queues)

    def _waiting(self, queues: Collection[str] | None) -> AttemptQuerySet[Any]:
        waiting = self.database.attempts.filter(status=Status.WAITING, blockers=0)
        return waiting if queues is None else waiting.filter(queue__in=queues)

    def _unpark(self, keys: Sequence[str], queues: Collection[str] | None) -> tuple[int, set[str]]:
        """Returns the number of unparked attempts, and the keys that others lock."""
        # A claim parks under these locks: its attempts are seen here, or it sees what ended.
        digests = {key: key_of_limit(key) for key in keys}
        locked, crowded = self._lock_keys(digests.values())
        free = self._free_by_key(locked)
        waiting = self._waiting(queues)
        unparked: list[UUID] = []
        unused = {key for key, slots in locked.items() if len(slots) == len(free[key])}
        ours = [key for key in keys if digests[key] not in crowded]
        for key in self.dialect.limit_keys_waited_for(ours):
            digest = digests[key]
            busy = len(locked.get(digest, ())) - len(free[digest])
            room = max(1, len(free[digest]))
            rows = self.dialect.of_limit_key(waiting, key)
            rows = self.database.skipping_locked(rows.order_by("-priority", "scheduled_at", "id"))
            unused.discard(digest)
            for pk, most in rows.values_list("pk", "concurrency")[:room]:
                if busy < (most or 1):
                    unparked.append(pk)
                    busy += 1
        if unparked:
            parked = self.database.attempts.filter(
                pk__in=unparked, status=Status.WAITING, blockers=0
            )
            parked.update(status=Status.PENDING)
            self.database.notify_due()
        self._delete(locked, unused)
        return len(unparked), {key for key, digest in digests.items() if digest in crowded}

    def forget_slots(self, after: int = 0, limit: int = 500) -> int | None:
        """Look at the next `limit` slots after an id; delete those of keys that nobody holds.

        A key's last slot goes with its last attempt; these are left by dead workers. Returns
        the id to go on after; None at the end.
        """
        slots = list(self.database.slots.filter(queue="", pk__gt=after).order_by("pk")[:limit])
        unused = {bytes(slot.key) for slot in self.free(slots)}

        def work() -> None:
            locked, _ = self._lock_keys(unused)
            free = self._free_by_key(locked)
            self._delete(locked, {k for k, mine in locked.items() if len(mine) == len(free[k])})

        if unused:
            self.database.in_transaction(work)
        return slots[-1].pk if len(slots) == limit else None

    def _delete(self, locked: Mapping[bytes, Sequence[Slot]], keys: Iterable[bytes]) -> None:
        """Delete all slots of these keys, which are locked; a claim makes them again."""
        self.dialect.delete(Slot, [slot.pk for key in keys for slot in locked[key]])

    def _free_by_key(
        self, locked: Mapping[bytes, Sequence[Slot]]
    ) -> defaultdict[bytes, list[Slot]]:
        free: defaultdict[bytes, list[Slot]] = defaultdict(list)
        for slot in self.free([*chain(*locked.values())]):
            free[bytes(slot.key)].append(slot)
        return free

    def free(self, slots: Sequence[Slot]) -> list[Slot]:
        """Return those of these slots whose holder's claim is over."""
        holders = [slot.attempt_id for slot in slots if slot.attempt_id is not None]
        running: dict[UUID, int] = {}
        for some in in_batches(holders):
            rows = self.database.attempts.running().filter(pk__in=some)
            running.update(rows.values_list("pk", "claim_seq"))
        return [
            slot
            for slot in slots
            if slot.attempt_id is None or running.get(slot.attempt_id) != slot.claim_seq
        ]

    def occupy(self, taken: Collection[tuple[Slot, Claim]]) -> None:
        """Write which claim takes which slot; the slots are locked."""
        for slot, claim in taken:
            slot.attempt_id, slot.claim_seq = claim.id, claim.claim_seq
        self.database.slots.bulk_update([slot for slot, _ in taken], ["attempt_id", "claim_seq"])

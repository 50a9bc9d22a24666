"""Attempts that no live worker has the key of: put off together, and brought back by one that has.

Claims and looks pass over what a process lacks the key of, row by row. Where nobody takes such rows
they would stay at the head of the claim's index for as long as the key is missing.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import timedelta
from itertools import chain
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.db.models import F, Q

from ..lifecycle import Released, Status
from ..models import AttemptQuerySet, DatabaseNow
from .counting import Counting
from .expiring import Expiring, Place
from .headers import HEADER, among, but_for, header_of
from .limiting import Limiting
from .missing import TELLS, tells_of
from .rows import seconds_from_now

PUT_OFF_AT_ONCE: Final = 2000
"""Rows that are read, and put off, at a time: some tens of milliseconds."""

SEEN_AT_ONCE: Final = 1000
"""Scheduled rows that are looked at, at a time, to bring some back."""

HEAD: Final = """
SELECT id FROM (
    SELECT id, {header} AS header FROM {attempt} {by_index}
    WHERE status = 'pending' AND claimed_by IS NULL AND queue = %s AND {kind}
        AND scheduled_at <= {now}{but_for}
    ORDER BY num_crashes, priority DESC, scheduled_at, id LIMIT {limit}
) head WHERE header IN {headers}
"""
"""Of what a claim meets first, but for what it leaves to others: what is behind that isn't read."""

KINDS: Final = "num_crashes = 0", "num_crashes > 0"


class PutOff(NamedTuple):
    """How many attempts were put off, and which headers a live worker can open instead."""

    numbers: Counter[bytes]
    opened: set[bytes]


class Keyless(Expiring, Limiting, Counting):
    """From pending to scheduled without a worker, a claim and its release in one; and back."""

    def put_off_keyless(self, causes: Mapping[bytes, Released], queues: Sequence[str]) -> PutOff:
        """Put off attempts of `queues` with these headers that no live worker of theirs can open.

        Only those at the head of the claim's index, and `PUT_OFF_AT_ONCE` at most. `causes`: for
        how long, and the reason that their rows give, by header.
        """
        found = PutOff(Counter(), set())
        workers = list(self.live_workers().values_list("queues", "opens"))
        for queue in queues:
            lists = (_list(opens) for names, opens in workers if queue in _list(names))
            prefixes = set(chain.from_iterable(lists))
            opened = {header for header in causes if _is_opened(header, prefixes)}
            found.opened.update(opened)
            keyless = sorted(causes.keys() - opened)
            for kind in KINDS if keyless else ():
                if (left := PUT_OFF_AT_ONCE - found.numbers.total()) > 0:
                    ids = self._at_the_head(queue, kind, keyless, opened, left)
                    put_off = self._put_off(ids, {header: causes[header] for header in keyless})
                    found.numbers.update(put_off)
        return found

    def bring_back(
        self, prefixes: Collection[str], within: float, *, after: Place | None = None
    ) -> tuple[int, Place | None]:
        """Let come at once what waits for a key, and begins with one of `prefixes`, in hexadecimal.

        Looks at the next scheduled attempts after a place, those of the next `within` seconds.
        Returns how many were let come, and the place to go on after; None at the end.
        """
        place = after or Place(Status.SCHEDULED)
        seen = self._next(place, SEEN_AT_ONCE)
        if not seen:
            return 0, None
        *_, last = seen
        is_end = len(seen) < SEEN_AT_ONCE or last[0] > self.now() + timedelta(seconds=within)

        ids = self._waiting_for(prefixes, [one[1] for one in seen])
        number = self._let_come(ids) if ids else 0
        return number, None if is_end else Place(Status.SCHEDULED, tuple(last[:2]))

    def _waiting_for(self, prefixes: Collection[str], ids: Sequence[UUID]) -> list[UUID]:
        """Those of these attempts that wait for a key that opens what begins with `prefixes`."""
        rows = self._put_off_before(ids).annotate(header=HEADER)
        return [
            pk
            for pk, header, reason in rows.values_list("pk", "header", "reason")
            if tells_of(reason, bytes(header)) and _is_opened(bytes(header), prefixes)
        ]

    def _put_off_before(self, ids: Sequence[UUID]) -> AttemptQuerySet[Any]:
        later = self.attempts.filter(status=Status.SCHEDULED, scheduled_at__gt=DatabaseNow())
        return later.filter(TELLS, pk__in=ids)

    def _let_come(self, ids: Sequence[UUID]) -> int:
        def work() -> int:
            locked = self.skipping_locked(self._put_off_before(ids).order_by("pk"))
            free = list(locked.values_list("pk", flat=True))
            rows = self.attempts.filter(pk__in=free, status=Status.SCHEDULED)
            number = rows.update(scheduled_at=DatabaseNow(), reason="")
            self.pass_gate()
            return number

        return self.whole(work)

    def _at_the_head(
        self,
        queue: str,
        kind: str,
        headers: Collection[bytes],
        others: Collection[bytes],
        limit: int,
    ) -> list[UUID]:
        """The attempts with these headers among the next `limit` that don't have the others."""
        vendor, args = self.connection.vendor, self.quoted("args")
        now, moment = DatabaseNow().on(vendor)
        sql = HEAD.format(
            header=header_of(args, vendor),
            headers=among(headers, vendor),
            but_for=but_for(sorted(others), args, vendor),
            by_index=self.by_claim_index,
            kind=kind,
            now=now,
            limit=limit,
            **self.names,
        )
        with self.connection.cursor() as cursor:
            cursor.execute(sql, [queue, *moment])
            return [self.model._meta.pk.to_python(pk) for (pk,) in cursor.fetchall()]

    def _put_off(self, ids: Sequence[UUID], causes: Mapping[bytes, Released]) -> Counter[bytes]:
        """Put off those of these attempts that nobody locks, has claimed, or sealed anew."""
        if not ids:
            return Counter()
        keys: set[str] = set()

        def work() -> Counter[bytes]:
            keys.clear()
            rows = self.due(Q(pk__in=ids)).annotate(header=HEADER).filter(header__in=list(causes))
            locked = self.skipping_locked(rows.order_by("pk"))
            by_header: defaultdict[bytes, list[UUID]] = defaultdict(list)
            for pk, header, limit_key in locked.values_list("pk", "header", "limit_key"):
                by_header[bytes(header)].append(pk)
                keys.add(limit_key)
            for header, some in by_header.items():
                cause = causes[header]
                self.attempts.filter(pk__in=some, status=Status.PENDING, claimed_by=None).update(
                    status=Status.SCHEDULED,
                    scheduled_at=seconds_from_now(cause.delay),
                    reason=cause.reason,
                    claim_seq=F("claim_seq") + 1,
                )
            return Counter({header: len(some) for header, some in by_header.items()})

        found = self.whole(work)
        # One of them may have been woken for a place, which is the next one's then.
        self.wake(keys - {""})
        return found


def _is_opened(header: bytes, prefixes: Iterable[str]) -> bool:
    return any(header.hex().startswith(prefix) for prefix in prefixes)


def _list(written: Any) -> list[str]:
    """What a worker's row lists, whatever somebody wrote there."""
    return [one for one in written if isinstance(one, str)] if isinstance(written, list) else []

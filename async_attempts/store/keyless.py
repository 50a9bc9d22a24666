"""Attempts that no live worker has the key of: put off together, and brought back by one that has.

Claims and looks pass over what a process lacks the key of, row by row. Where nobody takes such rows
they would stay at the head of the claim's index for as long as the key is missing.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.db.models import F, Q

from ..lifecycle import Released, Status
from ..models import DatabaseNow, Worker
from .counting import Counting
from .headers import HEADER, among, but_for, header_of
from .limiting import Limiting
from .missing import WAITS
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


class Cursor(NamedTuple):
    """The last row that a walk over the scheduled attempts has seen."""

    scheduled_at: datetime
    id: UUID


class PutOff(NamedTuple):
    """The number of attempts put off, by header, and the headers that a live worker can open."""

    numbers: Counter[bytes]
    opened: set[bytes]


class Keyless(Limiting, Counting):
    """From pending to scheduled without a worker, a claim and its release in one; and back."""

    def put_off_keyless(self, causes: Mapping[bytes, Released], queues: Sequence[str]) -> PutOff:
        """Put off attempts of `queues` with these headers that no live worker of theirs can open.

        Only those at the head of the claim's index, and `PUT_OFF_AT_ONCE` at most. `causes`: for
        how long, and the reason that their rows give, by header.
        """
        found = PutOff(Counter(), set())
        openers = self._openers(causes, queues)
        for queue in queues:
            known = openers[queue]
            opened = {one for one in causes if "" in known or one.hex() in known}
            found.opened.update(opened)
            keyless = sorted(causes.keys() - opened)
            for kind in KINDS if keyless else ():
                if (left := PUT_OFF_AT_ONCE - found.numbers.total()) > 0:
                    ids = self._at_the_head(queue, kind, keyless, opened, left)
                    put_off = self._put_off(ids, {header: causes[header] for header in keyless})
                    found.numbers.update(put_off)
        return found

    def _openers(
        self, headers: Collection[bytes], queues: Collection[str]
    ) -> defaultdict[str, set[str]]:
        """By queue, which of these headers a worker of it can open, in hexadecimal.

        "" among them stands for all of them. Workers whose lease is late count as well: when
        nobody could write, they may be alive.
        """
        wanted = {header.hex() for header in headers} | {""}
        found: defaultdict[str, set[str]] = defaultdict(set)
        workers = self.workers.filter(state=Worker.State.LIVE).values_list("queues", "opens")
        for names, opens in workers.iterator():
            if opened := wanted.intersection(_texts(opens)):
                for queue in set(_texts(names)).intersection(queues):
                    found[queue] |= opened
        return found

    def bring_back(
        self, openable: Collection[str], within: float, *, after: Cursor | None = None
    ) -> tuple[int, Cursor | None]:
        """Let come at once what waits for a key, and has one of these headers, in hexadecimal.

        `openable`: "" in it stands for all headers.

        Looks at the next scheduled attempts after a row, those of the next `within` seconds.
        Returns how many were let come, and the row to go on after; None at the end.
        """
        seen = self._scheduled(after, SEEN_AT_ONCE)
        if not seen:
            return 0, None
        *_, last = seen
        until = self.now() + timedelta(seconds=within)
        is_end = len(seen) < SEEN_AT_ONCE or last.scheduled_at > until
        return self._let_come(openable, [one.id for one in seen]), None if is_end else last

    def _scheduled(self, after: Cursor | None, limit: int) -> list[Cursor]:
        """The next scheduled attempts, the earliest first."""
        rows = self.attempts.filter(status=Status.SCHEDULED).order_by("scheduled_at", "id")
        columns = rows.values_list("scheduled_at", "id")
        # Each part is one range of the index; an OR of both would be none.
        parts = [Q()]
        if after is not None:
            moment, pk = after
            parts = [Q(scheduled_at=moment, id__gt=pk), Q(scheduled_at__gt=moment)]
        seen: list[Cursor] = []
        for part in parts:
            if len(seen) < limit:
                seen += map(Cursor._make, columns.filter(part)[: limit - len(seen)])
        return seen

    def _let_come(self, openable: Collection[str], ids: Sequence[UUID]) -> int:
        # Compared by the database: what rows hold there may be anything.
        waiting = self.attempts.filter(WAITS, pk__in=ids, scheduled_at__gt=DatabaseNow())
        if "" not in openable:
            headers = list(map(bytes.fromhex, openable))
            waiting = waiting.annotate(header=HEADER).filter(header__in=headers)
        if not (found := list(waiting.values_list("pk", flat=True))):
            return 0

        def work() -> int:
            locked = self.skipping_locked(waiting.filter(pk__in=found).order_by("pk"))
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


def _texts(written: Any) -> list[str]:
    """The texts in a list of a worker's row, whatever somebody wrote there."""
    return [one for one in written if isinstance(one, str)] if isinstance(written, list) else []

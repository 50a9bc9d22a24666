"""Attempts that no live worker has the key of: counted, put off together, and brought back.

Claims and looks pass over what a process lacks the key of, row by row. Where nobody takes such rows
they would stay at the head of the claim's index for as long as the key is missing.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.db.models import Count, F, Q

from ..encryption import Stored, format_of, key_id_of
from ..lifecycle import LIVE, Released, Status
from ..models import DatabaseNow, Worker
from ..models.large_values import Octets
from .claimed import ORDINARY, SUSPECT
from .database import Database, as_uuid
from .dialects.base import Dialect
from .expressions import HEADER, among, but_for, header_of, seconds_from_now
from .limits import Limits

REASON: Final = "sealed with key "
REST: Final = ", which ASYNC_ATTEMPTS['KEYS'] doesn't have"
RETIRED: Final = ", which is retired: see manage.py attempts rotate-keys"
FORM: Final = "stored in a form that this release doesn't know: "

UNNAMED: Final = "unnamed"
KEY_ID_LENGTH: Final = 64
LONGEST_REASON: Final = (
    max(len(REASON) + max(len(REST), len(RETIRED)), len(FORM)) + 4 * KEY_ID_LENGTH
)
"""The bytes of the longest reason that names a key or a form."""

TELLS: Final = Q(reason__startswith=REASON) | Q(reason__startswith=FORM)
WAITS: Final = TELLS & Q(status=Status.SCHEDULED)
"""True for an attempt that was put off as a worker lacked what opens it."""

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
"""The rows that a claim meets first, but for those that it leaves to others; no row behind them."""


class PutOff(NamedTuple):
    """The number of attempts put off, by header, and the headers that a live worker can open."""

    numbers: Counter[bytes]
    opened: set[bytes]


class Cursor(NamedTuple):
    """The last scheduled attempt that a walk has seen."""

    scheduled_at: datetime
    id: UUID


def reason_for(key_id: str, *, is_retired: bool = False) -> str:
    """The reason of an attempt that waits for this key; `key_id`: "" if it is unknown."""
    return f"{REASON}{key_id or UNNAMED}{RETIRED if is_retired else REST}"


def reason_for_form(form: str) -> str:
    """The reason of an attempt that waits for a release that knows this form."""
    return f"{FORM}{form}"


def is_form(name: str) -> bool:
    """True if a name of what is missing is a form's: ids of the shipped ciphers have no blank."""
    return " " in name


def _said_in(reason: str) -> str:
    """Return the id of the key, or the form, that a reason tells."""
    return reason.removeprefix(REASON).removeprefix(FORM).removesuffix(REST).removesuffix(RETIRED)


class MissingKeys:
    """Moves from pending to scheduled, as a claim and its release in one; and back."""

    def __init__(self, database: Database, dialect: Dialect, limits: Limits) -> None:
        self.database = database
        self.dialect = dialect
        self.limits = limits

    # --- counting

    def count(self) -> dict[str, int]:
        """Return the number of scheduled and pending attempts that wait for each key, by its id.

        An attempt in a form that a worker didn't know is counted by the form's name, "format 7".
        Counted are attempts whose reason says so, since a worker tried them, and others that claims
        pass over for the same header.
        """
        found: Counter[str] = Counter()
        # One statement for each status, since each has an index of its own.
        for status in (Status.SCHEDULED, Status.PENDING):
            rows = self.database.attempts.filter(TELLS, status=status)
            # No worker wrote a longer one.
            rows = rows.alias(size=Octets("reason")).filter(size__lte=LONGEST_REASON)
            counted = rows.values("reason").annotate(number=Count("pk"))
            for reason, number in counted.values_list("reason", "number"):
                found[_said_in(reason)] += number
        if found:
            # Read row by row: that costs only projects that lack a key.
            for header, number in self._untried():
                names = key_id_of(header), format_of(header)
                if name := next((one for one in names if one in found), None):
                    found[name] += number
        return dict(found.most_common())

    def _untried(self) -> Iterator[tuple[Stored, int]]:
        """Yield the headers of pending attempts that say nothing, each with their number."""
        rows = self.database.attempts.filter(status=Status.PENDING, claimed_by=None)
        rows = rows.exclude(TELLS).annotate(header=HEADER)
        counted = rows.order_by().values("header").annotate(number=Count("pk"))
        found: Iterator[tuple[Stored, int]] = counted.values_list("header", "number").iterator()
        return found

    def sample(self, most: int) -> Counter[str]:
        """Count the keys by which live attempts are sealed: of `most` of each status, not of all.

        A value of a version that this release doesn't know is counted by that version.
        """
        found: Counter[str] = Counter()
        for status in sorted(LIVE):
            rows = self.database.attempts.filter(status=status).annotate(header=HEADER)
            if status == Status.SCHEDULED:
                # Attempts that wait for a key are due within the hour: the first by that index.
                rows = rows.order_by("scheduled_at", "id")
            for stored in map(bytes, rows.values_list("header", flat=True)[:most]):
                found[key_id_of(stored) or format_of(stored)] += 1
        return found

    # --- putting off

    def put_off(self, causes: Mapping[bytes, Released], queues: Sequence[str]) -> PutOff:
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
            for kind in (ORDINARY, SUSPECT) if keyless else ():
                if (left := PUT_OFF_AT_ONCE - found.numbers.total()) > 0:
                    ids = self._at_the_head(queue, kind, keyless, opened, left)
                    put_off = self._put_off(ids, {header: causes[header] for header in keyless})
                    found.numbers.update(put_off)
        return found

    def _openers(
        self, headers: Collection[bytes], queues: Collection[str]
    ) -> defaultdict[str, set[str]]:
        """Return, by queue, which of these headers a worker of it can open, in hexadecimal.

        "" among them stands for all of them. Workers whose lease is late count as well: when
        nobody could write, they may be alive.
        """
        wanted = {header.hex() for header in headers} | {""}
        found: defaultdict[str, set[str]] = defaultdict(set)
        workers = self.database.workers.filter(state=Worker.State.LIVE).values_list(
            "queues", "opens"
        )
        for names, opens in workers.iterator():
            if opened := wanted.intersection(_texts(opens)):
                for queue in set(_texts(names)).intersection(queues):
                    found[queue] |= opened
        return found

    def bring_back(
        self, openable: Collection[str], within: float, *, after: Cursor | None = None
    ) -> tuple[int, Cursor | None]:
        """Make attempts due at once that wait for a key and have one of these headers.

        `openable`: headers in hexadecimal; "" in it stands for all of them.

        Looks at the next scheduled attempts after a cursor, those of the next `within` seconds.
        Returns their number, and the cursor to go on after; None at the end.
        """
        seen = self._scheduled(after)
        if not seen:
            return 0, None
        last = seen[-1]
        until = self.database.now() + timedelta(seconds=within)
        is_end = len(seen) < SEEN_AT_ONCE or last.scheduled_at > until
        return self._let_come(openable, [one.id for one in seen]), None if is_end else last

    def _scheduled(self, after: Cursor | None) -> list[Cursor]:
        """Return the next scheduled attempts, in the order of their index."""
        rows = self.database.attempts.filter(status=Status.SCHEDULED).order_by("scheduled_at", "id")
        columns = rows.values_list("scheduled_at", "id")
        # Two ranges of the index: an OR of them would be no range.
        parts = (
            [Q()]
            if after is None
            else [
                Q(scheduled_at=after.scheduled_at, id__gt=after.id),
                Q(scheduled_at__gt=after.scheduled_at),
            ]
        )
        seen: list[Cursor] = []
        with self.dialect.by_index_over("scheduled_at", "id"):
            for part in parts:
                seen += map(Cursor._make, columns.filter(part)[: SEEN_AT_ONCE - len(seen)])
        return seen

    def _let_come(self, openable: Collection[str], ids: Sequence[UUID]) -> int:
        # Compared by the database: what rows hold there may be anything.
        waiting = self.database.attempts.filter(WAITS, pk__in=ids, scheduled_at__gt=DatabaseNow())
        if "" not in openable:
            headers = list(map(bytes.fromhex, openable))
            waiting = waiting.annotate(header=HEADER).filter(header__in=headers)
        if not (found := list(waiting.values_list("pk", flat=True))):
            return 0

        def work() -> int:
            free = self.database.lock_free(waiting.filter(pk__in=found))
            rows = self.database.attempts.filter(pk__in=free, status=Status.SCHEDULED)
            number = rows.update(scheduled_at=DatabaseNow(), reason="")
            self.database.notify_due()
            return number

        with self.dialect.locking_by_id():
            return self.database.in_transaction(work)

    def _at_the_head(
        self,
        queue: str,
        kind: str,
        headers: Collection[bytes],
        others: Collection[bytes],
        limit: int,
    ) -> list[UUID]:
        """Return those with these headers among the next `limit` that don't have the others."""
        vendor, args = self.database.vendor, self.database.quoted("args")
        now, moment = DatabaseNow().on(vendor)
        sql = HEAD.format(
            header=header_of(args, vendor),
            headers=among(headers, vendor),
            but_for=but_for(sorted(others), args, vendor),
            by_index=self.dialect.by_claim_index,
            kind=kind,
            now=now,
            limit=limit,
            **self.database.names,
        )
        return [as_uuid(pk) for (pk,) in self.database.fetch(sql, [queue, *moment])]

    def _put_off(self, ids: Sequence[UUID], causes: Mapping[bytes, Released]) -> Counter[bytes]:
        """Put off the ones of these attempts that nobody locks, has claimed, or sealed again."""
        if not ids:
            return Counter()
        keys: set[str] = set()

        def work() -> Counter[bytes]:
            keys.clear()
            rows = self.dialect.due(Q(pk__in=ids)).annotate(header=HEADER)
            rows = rows.filter(header__in=list(causes))
            locked = self.database.skipping_locked(rows.order_by("pk"))
            by_header: defaultdict[bytes, list[UUID]] = defaultdict(list)
            for pk, header, limit_key in locked.values_list("pk", "header", "limit_key"):
                by_header[bytes(header)].append(pk)
                keys.add(limit_key)
            for header, some in by_header.items():
                cause = causes[header]
                self.database.attempts.filter(
                    pk__in=some, status=Status.PENDING, claimed_by=None
                ).update(
                    status=Status.SCHEDULED,
                    scheduled_at=seconds_from_now(cause.delay),
                    reason=cause.reason,
                    claim_seq=F("claim_seq") + 1,
                )
            return Counter({header: len(some) for header, some in by_header.items()})

        with self.dialect.locking_by_id():
            found = self.database.in_transaction(work)
        # One of them may have been unparked for a slot, which is the next one's then.
        self.limits.unpark(keys)
        return found


def _texts(written: Any) -> list[str]:
    """Return the texts in a list of a worker's row, whatever somebody wrote there."""
    return [one for one in written if isinstance(one, str)] if isinstance(written, list) else []

"""What of a stream is in flight: enqueued, and not known to have ended."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from django.db import router

from ..calls import Call, enqueue_many, taken
from ..conf import retention
from ..exceptions import AttemptsError, InvalidOption, QueueFull
from ..lifecycle import LIVE
from ..models import get_attempt_model
from ..models.columns import TOKEN_LENGTH
from ..models.keys import key_of_token
from ..models.options import check_token, timeout_seconds
from ..models.promise import DEFAULT_QUEUE
from ..store import store_for
from ..store.depending import in_batches
from ..store.transactions import refuse_waiting_in_block
from ..targets import target_of

logger = logging.getLogger("async_attempts")

MOST_AT_ONCE: Final = 100
"""Calls in one write."""
QUICK: Final = 0.02
"""Seconds: items that come within that are written together, twice as many the next time."""
FIRST_PAUSE: Final = 0.02
LONGEST_PAUSE: Final = 1.0
ROOM_FOR_PLACE: Final = 20
"""Characters of the item's token behind the stream's own."""


@dataclass(frozen=True, slots=True)
class Streamed:
    """What came of a stream: how many items were `enqueued`, and how many were `found` enqueued."""

    enqueued: int = 0
    found: int = 0


class Flight:
    """The calls that are to be written, and the attempts that aren't known to have ended."""

    def __init__(
        self,
        call_factory: Callable[[Any], Call],
        in_flight: int,
        token: str | None,
        database: str | None,
        timeout: float | timedelta | None,
    ) -> None:
        _check(in_flight, token)
        self._alias = database or router.db_for_write(get_attempt_model())
        refuse_waiting_in_block(self._alias)
        self._store = store_for(self._alias)
        self._call_factory = call_factory
        self._in_flight = in_flight
        self._token = token
        self._timeout = timeout_seconds(timeout)
        self._began = self._since = time.monotonic()
        self._pause = FIRST_PAUSE
        self._size = 1
        self._calls: list[Call] = []
        self.is_refused = False
        """Whether a queue was too full for what was added last."""
        self._place = 0
        self._live: set[UUID] = set()
        self._is_resumed = token is not None
        self._queues: set[str] = set()
        """Those that are known to keep what has ended for a time."""
        self._memory = float("inf")
        """Seconds: the shortest such time."""
        self.streamed = Streamed()

    @property
    def has_room(self) -> bool:
        """Whether another item may be enqueued."""
        return not self.is_refused and len(self._live) + len(self._calls) < self._in_flight

    @property
    def is_ripe(self) -> bool:
        """Whether what was added is to be written now."""
        return len(self._calls) >= self._size or not self.has_room or not self._is_quick

    def add(self, item: Any) -> None:
        """Make this item's call."""
        try:
            made = taken(self._call_factory(item))
            self._calls.append(self._placed(made))
        except Exception as error:
            error.add_note(f"This was item {self._place} of the stream.")
            raise
        self._place += 1

    def write(self) -> None:
        """Enqueue what was added, all or none; if that can't be, as many as come before.

        What a full queue refuses stays added, for the next time.
        """
        calls, self._calls = self._calls, []
        self.is_refused = False
        if not calls:
            return
        self._size = min(MOST_AT_ONCE, self._size * 2) if self._is_quick else 1
        try:
            self._write(calls)
        except AttemptsError:
            self._write_each(calls)
        self._since = time.monotonic()
        self._warn_of_oblivion()

    def _write_each(self, calls: list[Call]) -> None:
        for number, one in enumerate(calls):
            try:
                self._write([one])
            except QueueFull:
                self._calls, self.is_refused = calls[number:], True
                return
            except AttemptsError as error:
                place = self._place - len(calls) + number
                error.add_note(f"This was item {place} of the stream.")
                raise

    def pause(self) -> float:
        """Seconds until the next look. Raises TimeoutError when the time is over."""
        over = time.monotonic() - self._began
        if over >= self._timeout:
            again = ", or begin it anew with the same token" if self._token else ""
            raise TimeoutError(
                f"After {self._timeout:g} s the stream has come to item {self._place}, and "
                f"{len(self._live)} attempts haven't ended; have more workers{again}."
            )
        return min(self._pause, self._timeout - over)

    def look(self) -> None:
        """See which of them have ended, and whether what was refused is let in now."""
        live: set[UUID] = set()
        for some in in_batches(self._live):
            rows = self._store.attempts.filter(pk__in=some, status__in=LIVE)
            live.update(rows.values_list("pk", flat=True))
        has_ended = len(live) < len(self._live)
        self._pause = FIRST_PAUSE if has_ended else min(LONGEST_PAUSE, self._pause * 1.5)
        self._live = live
        self._since = time.monotonic()
        if self.is_refused:
            self.write()

    @property
    def _is_quick(self) -> bool:
        """Whether what was added has come quickly."""
        return time.monotonic() - self._since < QUICK

    def _placed(self, made: Any) -> Call:
        """The call as it is written: to this database, and with the token of its place."""
        if not isinstance(made, Call):
            raise InvalidOption(
                f"call_factory: it returned {type(made).__name__} for item {self._place}; return "
                "call(function, …)."
            )
        other = made.options.get("database")
        if other not in {None, self._alias}:
            raise InvalidOption(
                f"database: item {self._place} goes to {other!r}, and the stream to "
                f"{self._alias!r}; say enqueue_stream(…, database={other!r})."
            )
        if self._token is None:
            return made.using(database=self._alias)
        self._require_memory(made)
        token = f"{self._token}:{self._place}"
        return made.using(database=self._alias, idempotence_token=token)

    def _require_memory(self, made: Call) -> None:
        """Raises InvalidOption where nobody could tell what was performed already."""
        if "idempotence_token" in made.options:
            raise InvalidOption(
                f"token: item {self._place} has an idempotence token of its own; leave one of the "
                "two out."
            )
        of_target = target_of(made.target).policy.queue
        queue = made.options.get("queue") or of_target or DEFAULT_QUEUE
        if queue in self._queues:
            return
        kept = retention().of(queue)
        counted = [status for status, keep in kept.items() if keep.count is not None]
        if retention().deletes_success_in(queue):
            what = "keeps no successes"
        elif counted:
            what = f"keeps only a number of what has {counted[0]} (count)"
        else:
            self._queues.add(queue)
            ages = [keep.age for keep in kept.values() if keep.age is not None]
            self._memory = min(self._memory, *ages, float("inf"))
            return
        raise InvalidOption(
            f"token: the queue {queue!r} {what}, so a stream that is begun anew would enqueue "
            "again what was deleted; let it keep all for a time (KEEP, age), or leave token out."
        )

    def _warn_of_oblivion(self) -> None:
        """Log once that the stream has lasted longer than its first attempts may be kept."""
        if self._token is not None and time.monotonic() - self._began > self._memory:
            logger.warning(
                "stream %s: it has lasted longer than what has ended is kept, %.0f s (KEEP); begun "
                "anew it would enqueue its first items again",
                self._token,
                self._memory,
            )
            self._memory = float("inf")

    def _write(self, calls: Sequence[Call]) -> None:
        missing = self._not_found(calls) if self._is_resumed else calls
        rows = enqueue_many(missing)
        self._live.update(row.pk for row in rows if row.created or row.status in LIVE)
        new = sum(row.created for row in rows)
        self.streamed = replace(
            self.streamed,
            enqueued=self.streamed.enqueued + new,
            found=self.streamed.found + len(calls) - new,
        )

    def _not_found(self, calls: Sequence[Call]) -> Sequence[Call]:
        """Those that weren't enqueued before. Once all of a few weren't, nobody looks any more."""
        tokens = [one.options["idempotence_token"] for one in calls]
        names = [target_of(one.target).name for one in calls]
        keys = list(map(key_of_token, names, tokens))
        rows = self._store.attempts.filter(unique_key__in=keys)
        found = list(rows.values_list("unique_key", "pk", "status"))
        self._live.update(pk for _, pk, status in found if status in LIVE)
        self._is_resumed = bool(found)
        there = {bytes(key) for key, _, _ in found}
        return [one for one, key in zip(calls, keys, strict=True) if key not in there]


def _check(in_flight: Any, token: Any) -> None:
    if not isinstance(in_flight, int) or isinstance(in_flight, bool) or in_flight < 1:
        raise InvalidOption(f"in_flight: must be a whole number, 1 or more, not {in_flight!r}.")
    check_token(token)
    if token is not None and len(token) > TOKEN_LENGTH - ROOM_FOR_PLACE:
        raise InvalidOption(
            f"token: must have at most {TOKEN_LENGTH - ROOM_FOR_PLACE} characters; each item's has "
            "its place, too."
        )

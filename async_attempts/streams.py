"""Streams: long series of calls, enqueued so that only some of them are live at once."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, TypeVar
from uuid import UUID

from asgiref.sync import sync_to_async
from django.db import router

from .batches import in_batches
from .calls import Call, enqueue_many, taken
from .conf import retention
from .exceptions import AttemptsError, InvalidOption, QueueFull
from .lifecycle import LIVE
from .models import get_attempt_model
from .models.bounds import TOKEN_LENGTH
from .models.unique_keys import key_of_token
from .models.validation import check_token, timeout_seconds
from .pauses import Pauses
from .plaintext import hides_arguments
from .store import store_for
from .store.transactions import refuse_waiting_in_block
from .targets import queue_of, target_of
from .values import whole

logger = logging.getLogger("async_attempts")

Item = TypeVar("Item")

BATCH: Final = 100
"""Calls that are written together, unless there is less room."""

FIRST_PAUSE: Final = 0.02
LONGEST_PAUSE: Final = 1.0
"""Seconds between two looks for room."""

FOR_EVER: Final = float("inf")

ROOM_FOR_NUMBER: Final = 20
"""Characters of an item's token after the stream's own."""


@dataclass(slots=True)
class Streamed:
    """The numbers of items of a stream that were `enqueued`, and `found` enqueued before."""

    enqueued: int = 0
    found: int = 0


@hides_arguments
def enqueue_stream(
    call_factory: Callable[[Item], Call],
    iterable: Iterable[Item],
    in_flight: int = 100,
    *,
    token: str | None = None,
    database: str | None = None,
    timeout: float | timedelta | None = None,
) -> Streamed:
    """Enqueue `call_factory(item)` for each item; returns when the last one is enqueued.

    At most `in_flight` of them haven't ended at any time: it waits until there is room, also while
    a queue has as many pending as its `max_pending` allows. Each batch of up to 100 calls is
    committed by itself.

    `token`: with it the same stream can be begun again after a crash: item number n has the
    idempotence token "token:n", and what was enqueued before isn't enqueued again. `database`: an
    alias, by default where attempts go to. `timeout`: seconds or a timedelta from the call.

    Raises TimeoutError; WaitingInTransaction inside an atomic block, whose attempts no worker could
    see; what the iterable raises; what `call_factory` raises, and InvalidOption, InvalidTarget or
    InvalidArguments for an item, with a note of its number, from 0. What was enqueued before stays.
    """
    if isinstance(iterable, AsyncIterable) and not isinstance(iterable, Iterable):
        raise InvalidOption("iterable: it is an asynchronous one; use aenqueue_stream.")
    stream = Stream(call_factory, in_flight, token, database, timeout)
    try:
        for item in iterable:
            _sleep_through(stream.add(item))
    except Exception:
        _sleep_through(stream.write())
        raise
    _sleep_through(stream.write())
    return stream.streamed


@hides_arguments
async def aenqueue_stream(
    call_factory: Callable[[Item], Call],
    iterable: AsyncIterable[Item] | Iterable[Item],
    in_flight: int = 100,
    *,
    token: str | None = None,
    database: str | None = None,
    timeout: float | timedelta | None = None,
) -> Streamed:
    """`enqueue_stream` for async code, over an asynchronous iterable or an ordinary one."""
    stream = await sync_to_async(Stream)(call_factory, in_flight, token, database, timeout)
    try:
        async with aclosing(_each(iterable)) as items:
            async for item in items:
                await _sleep_through_async(stream.add(item))
    except Exception:
        await _sleep_through_async(stream.write())
        raise
    await _sleep_through_async(stream.write())
    return stream.streamed


class Stream:
    """The calls of the next batch, and the attempts that aren't known to have ended."""

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
        self._call_factory = call_factory
        self._in_flight = in_flight
        self._token = token
        self._timeout = timeout_seconds(timeout)
        self._began = time.monotonic()
        self._pauses = Pauses(FIRST_PAUSE, LONGEST_PAUSE, growth=1.5, jitter=0.0)
        self._calls: list[Call] = []
        self._live: set[UUID] = set()
        self._kept_for = FOR_EVER
        self.streamed = Streamed()

    def add(self, item: Any) -> Iterator[float]:
        """Take the next item, and write the batch if it is full; yields the seconds to sleep."""
        while not self._has_room:
            yield self._pause()
            self._look()
        try:
            self._calls.append(self._made(taken(self._call_factory(item))))
        except Exception as error:
            error.add_note(f"This was item {self._number + len(self._calls)} of the stream.")
            raise
        if len(self._calls) == BATCH or not self._has_room:
            yield from self.write()

    def write(self) -> Iterator[float]:
        """Enqueue the batch, up to a call that can't be; wait for room in a full queue.

        Yields the seconds to sleep.
        """
        calls, self._calls = self._calls, []
        try:
            self._enqueue(calls)
        except AttemptsError:
            for one in calls:
                yield from self._enqueue_alone(one)
        self._warn_if_forgotten()

    @property
    def _number(self) -> int:
        """The number of the first item that isn't enqueued."""
        return self.streamed.enqueued + self.streamed.found

    @property
    def _has_room(self) -> bool:
        return len(self._live) + len(self._calls) < self._in_flight

    def _enqueue_alone(self, one: Call) -> Iterator[float]:
        while True:
            try:
                return self._enqueue([one])
            except QueueFull:
                yield self._pause()
                self._look()
            except AttemptsError as error:
                error.add_note(f"This was item {self._number} of the stream.")
                raise

    def _enqueue(self, calls: Sequence[Call]) -> None:
        """Write all or none."""
        rows = enqueue_many(self._missing(calls) if self._token else calls)
        self._live.update(row.pk for row in rows if row.created or row.status in LIVE)
        new = sum(row.created for row in rows)
        self.streamed.enqueued += new
        self.streamed.found += len(calls) - new

    def _missing(self, calls: Sequence[Call]) -> list[Call]:
        """Return the calls not enqueued before, by one statement; each has its own token."""
        keys = [
            key_of_token(target_of(one.target).name, one.options["idempotence_token"])
            for one in calls
        ]
        rows = store_for(self._alias).database.attempts.filter(unique_key__in=keys)
        found = list(rows.values_list("unique_key", "pk", "status"))
        self._live.update(pk for _, pk, status in found if status in LIVE)
        known = {bytes(key) for key, *_ in found}
        return [one for one, key in zip(calls, keys, strict=True) if key not in known]

    def _pause(self) -> float:
        """Seconds until the next look. Raises TimeoutError when the time is over."""
        over = time.monotonic() - self._began
        if over >= self._timeout:
            again = ", or begin it again with the same token" if self._token else ""
            raise TimeoutError(
                f"After {self._timeout:g} s the stream has come to item {self._number}, and "
                f"{len(self._live)} attempts haven't ended; have more workers{again}."
            )
        return min(self._pauses.next(), self._timeout - over)

    def _look(self) -> None:
        """See which of them have ended."""
        live: set[UUID] = set()
        for some in in_batches(self._live):
            rows = store_for(self._alias).database.attempts.filter(pk__in=some, status__in=LIVE)
            live.update(rows.values_list("pk", flat=True))
        if len(live) < len(self._live):
            self._pauses.reset()
        self._live = live

    def _warn_if_forgotten(self) -> None:
        """Log once that the stream has lasted longer than its first attempts may be kept."""
        if time.monotonic() - self._began > self._kept_for:
            logger.warning(
                "stream %s: it has lasted longer than what has ended is kept, %.0f s (KEEP); begun "
                "again it would enqueue its first items again",
                self._token,
                self._kept_for,
            )
            self._kept_for = FOR_EVER

    def _made(self, made: Any) -> Call:
        """The call as it is written: to this database, and with the token of its number."""
        number = self._number + len(self._calls)
        if not isinstance(made, Call):
            raise InvalidOption(
                f"call_factory: it returned {type(made).__name__} for item {number}; return "
                "call(function, …)."
            )
        other = made.options.get("database")
        if other not in {None, self._alias}:
            raise InvalidOption(
                f"database: item {number} goes to {other!r}, and the stream to "
                f"{self._alias!r}; say enqueue_stream(…, database={other!r})."
            )
        if self._token is None:
            return made.using(database=self._alias)
        if "idempotence_token" in made.options:
            raise InvalidOption(
                f"token: item {number} has an idempotence token of its own; leave one of the two "
                "out."
            )
        self._kept_for = min(self._kept_for, _seconds_kept(made))
        return made.using(database=self._alias, idempotence_token=f"{self._token}:{number}")


def _seconds_kept(made: Call) -> float:
    """Seconds for which its row tells what was enqueued. Raises InvalidOption if unknown."""
    target = target_of(made.target)
    queue = made.options.get("queue") or queue_of(target.name, target.policy)
    kept = retention().of(queue)
    counted = [status for status, keep in kept.items() if keep.count is not None]
    if counted or ("succeeded" in kept and kept["succeeded"].is_nothing):
        what = f"only a number of what has {counted[0]} (count)" if counted else "no successes"
        raise InvalidOption(
            f"token: the queue {queue!r} keeps {what}, so a stream that is begun again would "
            "enqueue again what was deleted; let it keep all for a time (KEEP, age), or leave "
            "token out."
        )
    return min((keep.age for keep in kept.values() if keep.age is not None), default=FOR_EVER)


def _check(in_flight: Any, token: Any) -> None:
    whole("in_flight:", in_flight, InvalidOption)
    check_token(token)
    if token is not None and len(token) > TOKEN_LENGTH - ROOM_FOR_NUMBER:
        raise InvalidOption(
            f"token: must have at most {TOKEN_LENGTH - ROOM_FOR_NUMBER} characters; each item's "
            "has its number, too."
        )


def _sleep_through(pauses: Iterator[float]) -> None:
    for seconds in pauses:
        time.sleep(seconds)


async def _sleep_through_async(pauses: Iterator[float]) -> None:
    go_on = sync_to_async(lambda: next(pauses, None))
    seconds = await go_on()
    while seconds is not None:
        await asyncio.sleep(seconds)
        seconds = await go_on()


async def _each(iterable: AsyncIterable[Item] | Iterable[Item]) -> AsyncGenerator[Item, None]:
    if isinstance(iterable, AsyncIterable):
        async for item in iterable:
            yield item
    else:
        for item in iterable:
            yield item

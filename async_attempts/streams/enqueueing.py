"""Take one item after the other, and wait while there is no room for the next."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable
from contextlib import aclosing
from datetime import timedelta
from typing import TypeVar

from asgiref.sync import sync_to_async

from ..calls import Call
from ..exceptions import InvalidOption
from ..plaintext import hides_arguments
from .flight import Flight, Streamed

Item = TypeVar("Item")


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
    a queue has as many pending as its `max_pending` allows. Items are taken a few at a time when
    they come quickly, and each few are committed by themselves.

    `token`: with it the same stream can be begun anew after a crash: item number n has the
    idempotence token "token:n", and what was enqueued before isn't enqueued again. `database`: an
    alias, by default where attempts go to. `timeout`: seconds or a timedelta from the call.

    Raises TimeoutError; WaitingInTransaction inside an atomic block, whose attempts no worker could
    see; what the iterable raises; what `call_factory` raises, and InvalidOption, InvalidTarget or
    InvalidArguments for an item, with a note of its place, from 0. What was enqueued before stays.
    """
    if isinstance(iterable, AsyncIterable) and not isinstance(iterable, Iterable):
        raise InvalidOption("iterable: it is an asynchronous one; use aenqueue_stream.")
    stream = Flight(call_factory, in_flight, token, database, timeout)
    try:
        for item in iterable:
            while not stream.has_room:
                time.sleep(stream.pause())
                stream.look()
            stream.add(item)
            if stream.is_ripe:
                stream.write()
    except Exception:
        stream.write()
        raise
    stream.write()
    while stream.is_refused:
        time.sleep(stream.pause())
        stream.look()
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
    write, look = sync_to_async(Flight.write), sync_to_async(Flight.look)
    stream = await sync_to_async(Flight)(call_factory, in_flight, token, database, timeout)
    try:
        async with aclosing(_each(iterable)) as items:
            async for item in items:
                while not stream.has_room:
                    await asyncio.sleep(stream.pause())
                    await look(stream)
                stream.add(item)
                if stream.is_ripe:
                    await write(stream)
    except Exception:
        await write(stream)
        raise
    await write(stream)
    while stream.is_refused:
        await asyncio.sleep(stream.pause())
        await look(stream)
    return stream.streamed


async def _each(iterable: AsyncIterable[Item] | Iterable[Item]) -> AsyncGenerator[Item, None]:
    if isinstance(iterable, AsyncIterable):
        async for item in iterable:
            yield item
    else:
        for item in iterable:
            yield item

"""The threads in which async targets have sync code called: `asyncio.to_thread` and the ORM."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from contextvars import Context
from functools import partial
from threading import Barrier, BrokenBarrierError
from typing import Any, Final, ParamSpec, TypeVar

from asgiref.sync import SyncToAsync, ThreadSensitiveContext
from django.db import connections

from ..execution.connection_cleanup import NO_BLOCKS, Connections, connections_here
from ..execution.current import CurrentAttempt, _current
from ..shared.shared_memory import now

CLOSING: Final = 1.0
"""Seconds that a thread waits for the others at their end."""

_P = ParamSpec("_P")
_T = TypeVar("_T")


class CallThreads(ThreadPoolExecutor):
    """Looks after its threads' connections: sound before each call, clean and given back after it.

    A call that leaves a transaction open raises BrokenTransaction: the thread's next call is
    another target's.
    """

    keeps_connections = False

    def __init__(self, threads: int | None, name: str) -> None:
        super().__init__(threads, thread_name_prefix=name)
        self._here: set[Connections] = set()

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        return super().submit(self._call, partial(fn, *args, **kwargs))

    def _call(self, function: Callable[[], _T]) -> _T:
        here, moment = connections_here(), now()
        here.closes_old = not self.keeps_connections
        self._here.add(here)
        if moment >= here.looks_at:
            here.replace_ended(moment)
        try:
            result = function()
            if not here.are_clean():
                here.refuse_left_open(NO_BLOCKS)
            return result
        finally:
            if not here.are_clean():
                here.clean(NO_BLOCKS)
            if not self.keeps_connections:
                here.give_back()

    def close(self) -> None:
        """Let all threads close their connections and end, but for the ones that a call keeps."""
        all_are_there = Barrier(max(1, len(self._here)))
        for _ in self._here:
            # Each waits for the others, so that none does this twice.
            super().submit(_close_connections, all_are_there)
        self.shutdown(wait=False)


class SharedThread(CallThreads):
    """The one thread of `sync_to_async`, and so of the async ORM; knows whose call is going on.

    A call can't be ended from outside: it outlives the coroutine that awaited it, and keeps all
    others waiting. While a target goes on the thread keeps its connections, for a query that is
    read piece by piece.
    """

    keeps_connections = True

    def __init__(self) -> None:
        super().__init__(1, "async targets' calls")
        self._rests = any(
            database["CONN_MAX_AGE"] or database["OPTIONS"].get("pool")
            for database in connections.settings.values()
        )
        # In the dictionary as long as this is referred to.
        self._key = ThreadSensitiveContext()
        SyncToAsync.context_to_thread_executor[self._key] = self
        self._callers: dict[Future[Any], CurrentAttempt] = {}

    def serve(self, context: Context) -> None:
        """Have the calls of `sync_to_async` in this context, and in its copies, come here."""
        context.run(SyncToAsync.thread_sensitive_context.set, self._key)

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        call = super().submit(fn, *args, **kwargs)
        if (caller := _current.get()) is not None:
            self._callers[call] = caller
            call.add_done_callback(lambda ended: self._callers.pop(ended, None))
        return call

    def call_of(self, caller: CurrentAttempt | None) -> Future[Any] | None:
        """The call of this attempt that is going on, if one is."""
        # At most one of them is running; the copy is made without a change in between.
        for call, other in list(self._callers.items()):
            if other is caller and call.running():
                return call
        return None

    def rest(self) -> None:
        """Close what is old, and give back what came from a pool: no target is going on."""
        if self._rests:
            super(CallThreads, self).submit(_let_go)


def _let_go() -> None:
    here = connections_here()
    here.close_old()
    here.give_back()


def _close_connections(all_are_there: Barrier) -> None:
    connections.close_all()
    with suppress(BrokenBarrierError):
        all_are_there.wait(CLOSING)

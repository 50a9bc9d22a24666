"""The one thread in which all async targets of a process call what may not be called in many."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from contextvars import Context
from typing import Any

from asgiref.sync import SyncToAsync, ThreadSensitiveContext
from django.db import connections

from ..current import CurrentAttempt, _current


class SharedThread(ThreadPoolExecutor):
    """What `sync_to_async` and the ORM's async methods call; knows whose call is going on.

    A call can't be ended from outside: it outlives the coroutine that awaited it, and keeps all
    others waiting.
    """

    def __init__(self) -> None:
        super().__init__(1, "async targets' calls")
        # In the dictionary as long as this is referred to.
        self._key = ThreadSensitiveContext()
        SyncToAsync.context_to_thread_executor[self._key] = self
        self._callers: dict[Future[Any], CurrentAttempt] = {}

    def serve(self, context: Context) -> None:
        """Have the calls of `sync_to_async` in this context, and in its copies, come here."""
        context.run(SyncToAsync.thread_sensitive_context.set, self._key)

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
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

    def close(self, seconds: float) -> None:
        """Close the thread's connections, unless a call keeps it longer than that."""
        with suppress(Exception):
            self.submit(connections.close_all).result(seconds)
        self.shutdown(wait=False, cancel_futures=True)

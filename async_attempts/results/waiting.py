"""Waiting for what workers do: polling is the truth, notifications only shorten it."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue

from asgiref.sync import sync_to_async

from ..exceptions import InvalidOption
from ..models import AbstractAttempt
from ..models.database import database_of
from ..store.transactions import refuse_waiting_in_block
from .hearing import hearing_on
from .pauses import Pauses


class Question(ABC):
    """What somebody wants to know of attempts; asked again and again until it is answered."""

    def __init__(self, aliases: Iterable[str]) -> None:
        self._aliases = tuple(aliases)
        self._leave: list[Callable[[], None]] = []
        self._is_over = False

    @abstractmethod
    def ask(self) -> bool:
        """Look at the database, once; whether that answered the question."""

    @abstractmethod
    def unanswered(self) -> str:
        """What a TimeoutError says before "after … s"; and why."""

    def begin(self, wake: Callable[[], None] | None) -> bool:
        """Ask; whether that answered it. If not, `wake` is called from then on by another thread
        when it may be worth asking again; None: nobody will ask again.

        Raises WaitingInTransaction.
        """
        for alias in self._aliases:
            refuse_waiting_in_block(alias)
        if self.ask():
            return True
        if self._leave or wake is None:
            return False
        for alias in self._aliases:
            if (hearing := hearing_on(alias)) is not None:
                # First, as a timeout may be raised anywhere: who stays joined keeps the session.
                self._leave.append(partial(hearing.leave, wake))
                hearing.join(wake)
        if self._is_over:
            # The coroutine that waited was cancelled, and this thread not.
            self.end()
        # What has ended between the first look and these lines notified nobody here.
        return bool(self._leave) and self.ask()

    def end(self) -> None:
        """Nobody asks any more."""
        self._is_over = True
        # The thread that begins and the coroutine that is cancelled may both be here.
        for leave in tuple(self._leave):
            leave()


def wait(question: Question, pauses: Pauses) -> None:
    """Until the question is answered. Raises WaitingInTransaction, TimeoutError."""
    woken: SimpleQueue[None] = SimpleQueue()
    try:
        is_answered = question.begin(partial(woken.put, None) if pauses.timeout else None)
        while not is_answered:
            refuse_if_over(question, pauses)
            with suppress(Empty):
                woken.get(timeout=pauses.next())
                time.sleep(pauses.deafness())
                while True:
                    woken.get_nowait()
            is_answered = question.ask()
    finally:
        question.end()


class AsyncWait:
    """`wait` that keeps no event loop waiting; may be done again for the next answer."""

    def __init__(self, question: Question, pauses: Pauses) -> None:
        self._question = question
        self._pauses = pauses
        self._woken = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    async def answered(self) -> None:
        """Until the question is answered."""
        question, pauses = self._question, self._pauses
        wake = self._wake if pauses.timeout else None
        is_answered = await sync_to_async(question.begin)(wake)
        while not is_answered:
            if pauses.are_over:
                # Its text names the attempt: of one whose columns are deferred by a query.
                await sync_to_async(refuse_if_over)(question, pauses)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), pauses.next())
                await asyncio.sleep(pauses.deafness())
            self._woken.clear()
            is_answered = await sync_to_async(question.ask)()

    def _wake(self) -> None:
        # The loop may have ended meanwhile, and with it the wait.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._woken.set)


def refuse_if_over(question: Question, pauses: Pauses) -> None:
    """Raises TimeoutError when the time for the answer is over."""
    if pauses.are_over:
        raise TimeoutError(f"After {pauses.timeout:g} s {question.unanswered()}.")


def awaited_on(attempt: object) -> str:
    """Where to look for it. Raises InvalidOption for what isn't an attempt that was enqueued."""
    if not isinstance(attempt, AbstractAttempt):
        raise InvalidOption(f"Only attempts can be waited for, not a {type(attempt).__name__}.")
    if attempt._state.adding:
        raise InvalidOption(f"{attempt} was not enqueued, so nobody performs it.")
    return database_of(attempt)

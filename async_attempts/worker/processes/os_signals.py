"""Signals: what they ask of the supervisor, and what targets' processes inherit of handlers."""

from __future__ import annotations

import faulthandler
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final, Self

from ..shared.wake_pipe import WakePipe

PACKAGE: Final = __name__.partition(".")[0]

DEFAULT: Final = {signal.SIGINT: signal.default_int_handler}
"""Handlers with which Python begins, other than the system's."""


class OsSignals:
    """Notes what signals ask for, and wakes the supervisor.

    SIGTERM, SIGINT: stop. A second SIGINT, or SIGQUIT: at once. SIGUSR1: dump the stacks of all
    threads and what is in flight. SIGHUP: let the children finish, then start again with the code
    as it is then. SIGCHLD wakes only.
    """

    def __init__(self) -> None:
        self.stop = self.at_once = self.dump = self.reload = False
        self._interrupts = 0
        self._wake_pipe = WakePipe()
        self._previous: dict[int, Any] = {}
        self._previous_fd = -1

    def __enter__(self) -> Self:
        handlers = {
            signal.SIGTERM: self._on_stop,
            signal.SIGINT: self._on_stop,
            signal.SIGQUIT: self._on_stop,
            signal.SIGUSR1: self._on_dump,
            signal.SIGHUP: self._on_reload,
            signal.SIGCHLD: _do_nothing,  # the signal itself wakes the supervisor
        }
        self._previous = {number: signal.signal(number, on) for number, on in handlers.items()}
        self._previous_fd = signal.set_wakeup_fd(self._wake_pipe.fd, warn_on_full_buffer=False)
        return self

    def __exit__(self, *exc_info: object) -> None:
        signal.set_wakeup_fd(self._previous_fd)
        if self.reload:
            # The new program inherits these: until it has its handlers, they would end it.
            self._previous |= dict.fromkeys((signal.SIGHUP, signal.SIGUSR1), signal.SIG_IGN)
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._wake_pipe.close()

    def wait(self, seconds: float) -> None:
        """Wait for a signal, at most for these seconds."""
        self._wake_pipe.wait(seconds)

    def ask_to_reload(self) -> None:
        """Reload as after SIGHUP."""
        self.reload = self.stop = True

    def _on_stop(self, number: int, frame: FrameType | None) -> None:
        self._interrupts += number == signal.SIGINT
        self.at_once = self.at_once or number == signal.SIGQUIT or self._interrupts > 1
        self.stop = True
        self.reload = False

    def _on_dump(self, number: int, frame: FrameType | None) -> None:
        self.dump = True
        faulthandler.dump_traceback(all_threads=True)

    def _on_reload(self, number: int, frame: FrameType | None) -> None:
        self.ask_to_reload()


def ignore(*numbers: int) -> None:
    """Do nothing at these signals, and let no call into the system notice them.

    Unlike `SIG_IGN`, this isn't inherited by a program that a target starts.
    """
    for number in numbers:
        signal.signal(number, _do_nothing)
        signal.siginterrupt(number, False)


def _do_nothing(number: int, frame: FrameType | None) -> None:
    """Heed no signal."""


class _Forks:
    """Puts back the default handlers in processes that this one forks, while that is wanted."""

    def __init__(self) -> None:
        self._is_registered = False
        self.are_reset = False
        self._of_thread = threading.local()

    def reset(self, wanted: bool) -> None:
        if not self._is_registered:
            self._is_registered = True
            os.register_at_fork(
                before=self._hold_back,
                after_in_parent=self._let_through,
                after_in_child=self._begin,
            )
        self.are_reset = wanted

    def _hold_back(self) -> None:
        # A signal that comes before the handlers are put back would be lost on the new process.
        blocked = signal.valid_signals() if self.are_reset else ()
        self._of_thread.mask = signal.pthread_sigmask(signal.SIG_BLOCK, blocked)

    def _let_through(self) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._of_thread.mask)

    def _begin(self) -> None:
        if self.are_reset:
            signal.set_wakeup_fd(-1)
            for number in filter(_is_ours, signal.valid_signals()):
                signal.signal(number, DEFAULT.get(number, signal.SIG_DFL))
        try:
            self._let_through()
        except KeyboardInterrupt:
            # It would be swallowed in here. One that nothing catches ends a process like this.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.raise_signal(signal.SIGINT)


def _is_ours(number: int) -> bool:
    """Return True if the handler of this signal is of this package."""
    module = getattr(signal.getsignal(number), "__module__", "")
    return module.partition(".")[0] == PACKAGE


_forks: Final = _Forks()


def reset_in_forks() -> None:
    """Give the default handlers to processes that this one forks from now on."""
    _forks.reset(True)


@contextmanager
def resetting_in_forks() -> Iterator[None]:
    """Give the default handlers to processes that this one forks within the block."""
    before = _forks.are_reset
    _forks.reset(True)
    try:
        yield
    finally:
        _forks.reset(before)

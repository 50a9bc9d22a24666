"""Handlers of signals, and what is left of them in processes and programs that a target starts."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

PACKAGE: Final = __name__.partition(".")[0]

DEFAULT: Final = {signal.SIGINT: signal.default_int_handler}
"""Handlers with which Python begins, other than the system's."""


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
    """Whether we handle it; what a target handles is the target's affair."""
    module = getattr(signal.getsignal(number), "__module__", "")
    return module.partition(".")[0] == PACKAGE


_forks: Final = _Forks()


def reset_in_forks() -> None:
    """From now on, give the default handlers to processes that this one forks, in place of ours."""
    _forks.reset(True)


@contextmanager
def resetting_in_forks() -> Iterator[None]:
    """Do so for a while."""
    before = _forks.are_reset
    _forks.reset(True)
    try:
        yield
    finally:
        _forks.reset(before)

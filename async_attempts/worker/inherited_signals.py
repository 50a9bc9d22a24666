"""Handlers of signals, and what is left of them in processes and programs that a target starts."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

PACKAGE: Final = __name__.partition(".")[0]


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

    def reset(self, wanted: bool) -> None:
        if not self._is_registered:
            self._is_registered = True
            os.register_at_fork(after_in_child=self._forked)
        self.are_reset = wanted

    def _forked(self) -> None:
        if not self.are_reset:
            return
        signal.set_wakeup_fd(-1)
        for number in signal.valid_signals():
            # A handler that a target has set is the target's affair.
            if getattr(signal.getsignal(number), "__module__", "").partition(".")[0] == PACKAGE:
                is_interrupt = number == signal.SIGINT
                signal.signal(
                    number, signal.default_int_handler if is_interrupt else signal.SIG_DFL
                )


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

"""What signals ask of the supervisor."""

from __future__ import annotations

import faulthandler
import signal
from types import FrameType
from typing import Any, Self

from ..shared.wake_pipe import WakePipe


class OsSignals:
    """Notes what was asked for, and wakes who waits.

    SIGTERM, SIGINT: stop. A second SIGINT, or SIGQUIT: at once. SIGUSR1: dump the stacks of all
    threads and what is in flight. SIGHUP: let the children finish, then begin anew with the code as
    it is then. SIGCHLD wakes only.
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
            signal.SIGQUIT: self._on_quit,
            signal.SIGUSR1: self._on_dump,
            signal.SIGHUP: self._on_reload,
            signal.SIGCHLD: self._on_child,
        }
        self._previous = {number: signal.signal(number, on) for number, on in handlers.items()}
        self._previous_fd = signal.set_wakeup_fd(self._wake_pipe.fd, warn_on_full_buffer=False)
        return self

    def __exit__(self, *exc_info: object) -> None:
        signal.set_wakeup_fd(self._previous_fd)
        if self.reload:
            # Inherited by who begins anew: until that one listens, they would end it.
            self._previous |= dict.fromkeys((signal.SIGHUP, signal.SIGUSR1), signal.SIG_IGN)
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._wake_pipe.close()

    def wait(self, seconds: float) -> None:
        """Until a signal comes, for so many seconds at most."""
        self._wake_pipe.wait(seconds)

    def ask_to_reload(self) -> None:
        """As by SIGHUP."""
        self.reload = self.stop = True

    def _on_stop(self, number: int, frame: FrameType | None) -> None:
        self._interrupts += number == signal.SIGINT
        self.at_once = self.at_once or self._interrupts > 1
        self.stop = True
        self.reload = False

    def _on_quit(self, number: int, frame: FrameType | None) -> None:
        self.stop = self.at_once = True
        self.reload = False

    def _on_dump(self, number: int, frame: FrameType | None) -> None:
        self.dump = True
        faulthandler.dump_traceback(all_threads=True)

    def _on_reload(self, number: int, frame: FrameType | None) -> None:
        self.ask_to_reload()

    def _on_child(self, number: int, frame: FrameType | None) -> None:
        """The one who waits is awake."""

"""The birth and the death of a worker process, and the signals in between."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from ..store import store_for
from .loop import Loop
from .options import Options


def run(options: Options) -> None:
    """Perform attempts as `options` say; returns when done, or told to by SIGTERM or SIGINT."""
    loop = Loop(store_for(options.database), options)
    with stopped_by_signals(loop):
        loop.run()


@contextmanager
def stopped_by_signals(loop: Loop) -> Iterator[None]:
    """SIGTERM and SIGINT stop `loop`; only the main thread can listen to signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        loop.stop()

    previous = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)

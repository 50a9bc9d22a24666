"""The wish to stop can be uttered by a signal handler at any moment."""

from __future__ import annotations

import subprocess
import sys

from async_attempts.worker.shared.stop_event import StopEvent

INTERRUPTED = """
import signal, sys
from async_attempts.worker.shared.stop_event import StopEvent

def interrupted_at(place):
    "Whether a signal came at the line number `place` of all that waiting executes."
    stop_event, count = StopEvent(), 0
    signal.signal(signal.SIGTERM, lambda *args: stop_event.set())

    def trace(frame, event, argument):
        nonlocal count
        if frame.f_code.co_name == "<lambda>" or frame.f_back.f_code.co_name == "<lambda>":
            return None
        if event == "line":
            count += 1
            if count == place:
                signal.raise_signal(signal.SIGTERM)
        return trace

    sys.settrace(trace)
    stop_event.wait(0.01)
    sys.settrace(None)
    assert stop_event.is_set() == (count >= place)
    return stop_event.is_set()

place = 1
while interrupted_at(place):
    place += 1
print(place)
"""


def test_it_may_interrupt_every_line_of_waiting():
    child = subprocess.run(
        [sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, timeout=60, check=False
    )
    assert child.returncode == 0, child.stderr
    assert int(child.stdout) > 2


def test_it_ends_a_later_wait_at_once():
    stop_event = StopEvent()
    stop_event.set()
    stop_event.wait(3_600)
    stop_event.wait(3_600)
    assert stop_event.is_set()

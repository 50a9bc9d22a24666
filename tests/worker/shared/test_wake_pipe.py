"""What waits is woken: by a thread, by a signal, by a socket."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from async_attempts.worker.shared.wake_pipe import LoopWait, WakePipe
from tests.worker.helpers.processes import PATIENCE


@pytest.fixture
def wake_pipe() -> Iterator[WakePipe]:
    wake_pipe = WakePipe()
    yield wake_pipe
    wake_pipe.close()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    near, far = socket.socketpair()
    with near, far:
        yield near, far


def wakes(wake_pipe: WakePipe, socket: int | None = None) -> bool:
    """Whether who waits is woken before he loses patience."""
    deadline = time.monotonic() + PATIENCE
    wake_pipe.wait(PATIENCE, socket)
    return time.monotonic() < deadline


def test_who_waits_is_woken_by_a_thread(wake_pipe):
    ringer = threading.Timer(0.05, wake_pipe.wake)
    ringer.start()
    assert wakes(wake_pipe)
    ringer.join()


def test_who_waits_next_is_woken_once_however_often_it_rang(wake_pipe):
    for _ in range(3):
        wake_pipe.wake()
    assert wakes(wake_pipe)
    assert wake_pipe._poll.poll(0) == []


def test_ringing_never_waits_though_nobody_hears(wake_pipe):
    for _ in range(100_000):
        wake_pipe.wake()
    assert wakes(wake_pipe)


def test_a_signal_wakes(wake_pipe):
    previous_fd = signal.set_wakeup_fd(wake_pipe.fd, warn_on_full_buffer=False)
    previous = signal.signal(signal.SIGUSR2, lambda *_: None)
    try:
        signal.raise_signal(signal.SIGUSR2)
        assert wakes(wake_pipe)
    finally:
        signal.signal(signal.SIGUSR2, previous)
        signal.set_wakeup_fd(previous_fd)


def test_a_socket_with_something_to_read_wakes_while_it_is_watched(wake_pipe, pair):
    near, far = pair
    far.send(b"x")
    assert wakes(wake_pipe, near.fileno())
    assert wake_pipe._poll.poll(0) == []


def test_a_broken_socket_wakes_too(wake_pipe, pair):
    near, far = pair
    far.close()
    assert wakes(wake_pipe, near.fileno())


def test_a_loop_is_woken_only_while_it_waits(wake_pipe):
    loop_wait = LoopWait(wake_pipe)
    loop_wait.wake()
    assert wake_pipe._poll.poll(0) == []
    waker = threading.Timer(0.05, loop_wait.wake)
    waker.start()
    deadline = time.monotonic() + PATIENCE
    loop_wait.wait(PATIENCE, None, lambda: False)
    assert time.monotonic() < deadline
    waker.join()


def test_a_loop_that_is_needed_already_does_not_wait(wake_pipe):
    deadline = time.monotonic() + PATIENCE
    LoopWait(wake_pipe).wait(3_600, None, lambda: True)
    assert time.monotonic() < deadline

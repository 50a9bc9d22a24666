"""What waits is woken: by a thread, by a signal, by a socket."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from async_attempts.worker.shared.wake_pipe import Bell
from tests.worker.helpers.processes import PATIENCE


@pytest.fixture
def bell() -> Iterator[Bell]:
    bell = Bell()
    yield bell
    bell.close()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    near, far = socket.socketpair()
    with near, far:
        yield near, far


def wakes(bell: Bell) -> bool:
    """Whether who waits is woken before he loses patience."""
    deadline = time.monotonic() + PATIENCE
    bell.wait(PATIENCE)
    return time.monotonic() < deadline


def test_who_waits_is_woken_by_a_thread(bell):
    ringer = threading.Timer(0.05, bell.ring)
    ringer.start()
    assert wakes(bell)
    ringer.join()


def test_who_waits_next_is_woken_once_however_often_it_rang(bell):
    for _ in range(3):
        bell.ring()
    assert wakes(bell)
    assert bell._poll.poll(0) == []


def test_ringing_never_waits_though_nobody_hears(bell):
    for _ in range(100_000):
        bell.ring()
    assert wakes(bell)


def test_a_signal_rings(bell):
    previous_fd = signal.set_wakeup_fd(bell.fd, warn_on_full_buffer=False)
    previous = signal.signal(signal.SIGUSR2, lambda *_: None)
    try:
        signal.raise_signal(signal.SIGUSR2)
        assert wakes(bell)
    finally:
        signal.signal(signal.SIGUSR2, previous)
        signal.set_wakeup_fd(previous_fd)


def test_a_socket_with_something_to_read_is_told_from_a_ring(bell, pair):
    near, far = pair
    bell.ring()
    assert not bell.wait(PATIENCE, near.fileno())
    far.send(b"x")
    assert bell.wait(PATIENCE, near.fileno())
    assert not bell.wait(0.0)


def test_a_broken_socket_wakes_too(bell, pair):
    near, far = pair
    far.close()
    assert bell.wait(PATIENCE, near.fileno())

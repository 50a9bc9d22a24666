"""What systemd hears, by a datagram socket as it has one."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator

import pytest

from async_attempts.worker.health.systemd import Systemd

Heard = Callable[[], list[str]]


@pytest.fixture(params=["path", "abstract"])
def address(request: pytest.FixtureRequest) -> Iterator[str]:
    """What NOTIFY_SOCKET says: a path (short, as such names must be), or an abstract name."""
    with tempfile.TemporaryDirectory(prefix="sd") as directory:
        if request.param == "path":
            yield f"{directory}/notify"
        elif sys.platform == "linux":
            yield f"@{directory}/notify"
        else:
            pytest.skip("only Linux has abstract sockets")


def bound(address: str) -> str:
    """What the manager binds to."""
    return "\0" + address[1:] if address.startswith("@") else address


@pytest.fixture
def heard(address: str) -> Iterator[Heard]:
    """Returns what has arrived since it was last called, datagram by datagram."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(bound(address))
        manager.setblocking(False)

        def arrived() -> list[str]:
            datagrams = []
            while True:
                try:
                    datagrams.append(manager.recv(4096).decode())
                except BlockingIOError:
                    return datagrams

        yield arrived


def test_each_method_is_a_datagram_of_the_protocol(address, heard):
    systemd = Systemd({"NOTIFY_SOCKET": address})
    systemd.ready()
    systemd.watchdog()
    systemd.extend(2.5)
    systemd.stopping()
    assert heard() == ["READY=1", "WATCHDOG=1", "EXTEND_TIMEOUT_USEC=2500000", "STOPPING=1"]


def test_a_reload_says_when_it_began(address, heard):
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1_000
    Systemd({"NOTIFY_SOCKET": address}).reloading()
    after = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1_000
    ((reloading, began),) = [datagram.split("\n") for datagram in heard()]
    assert reloading == "RELOADING=1"
    key, _, microseconds = began.partition("=")
    assert key == "MONOTONIC_USEC"
    assert before <= int(microseconds) <= after


def test_a_status_is_sent_when_it_is_another(address, heard):
    systemd = Systemd({"NOTIFY_SOCKET": address})
    for text in ("idle", "idle", "3 in flight", "idle"):
        systemd.status(text)
    assert heard() == ["STATUS=idle", "STATUS=3 in flight", "STATUS=idle"]


def test_a_status_can_assign_nothing_else(address, heard):
    Systemd({"NOTIFY_SOCKET": address}).status("idle\nMAINPID=1\r\nREADY=1")
    assert heard() == ["STATUS=idle MAINPID=1 READY=1"]


def test_a_status_that_was_not_heard_is_sent_again(address):
    systemd = Systemd({"NOTIFY_SOCKET": address})
    systemd.status("idle")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(bound(address))
        systemd.status("idle")
        manager.setblocking(False)
        assert manager.recv(4096) == b"STATUS=idle"


def test_a_forked_child_is_not_heard(address, heard):
    program = """
import os
from async_attempts.worker.health.systemd import Systemd
systemd = Systemd()
pid = os.fork()
if pid == 0:
    systemd.ready()
    os._exit(0)
os.waitpid(pid, 0)
systemd.status("parent")
"""
    environment = os.environ | {"NOTIFY_SOCKET": address}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)
    assert heard() == ["STATUS=parent"]


@pytest.mark.parametrize("address_of_nobody", ["", "/no/such/socket", "@no such", "vsock:2:1", "x"])
def test_nobody_who_listens_raises_nothing(address_of_nobody):
    systemd = Systemd({"NOTIFY_SOCKET": address_of_nobody})
    systemd.ready()
    systemd.reloading()
    systemd.status("idle")
    systemd.watchdog()
    systemd.extend(1)
    systemd.stopping()


def test_a_manager_that_does_not_read_holds_nobody_up_for_ever(address, monkeypatch):
    monkeypatch.setattr("async_attempts.worker.health.systemd.PATIENCE", 0.01)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(bound(address))
        systemd = Systemd({"NOTIFY_SOCKET": address})
        # Far more than any socket's queue takes.
        for number in range(2_000):
            systemd.status(str(number))
            if systemd._status != str(number):
                break
        assert systemd._status != str(number)


@pytest.mark.parametrize(
    ("environment", "interval"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "60000000"}, 30.0),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
    ],
)
def test_the_watchdog_is_called_twice_in_its_time(environment, interval):
    systemd = Systemd({"NOTIFY_SOCKET": "/run/systemd/notify", **environment})
    assert systemd.watchdog_interval == interval


@pytest.mark.parametrize(("distance", "interval"), [(0, 30.0), (1, None)])
def test_a_watchdog_may_wait_for_another_process(distance, interval):
    pid = str(os.getpid() + distance)
    environment = {"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": pid}
    systemd = Systemd({"NOTIFY_SOCKET": "/run/systemd/notify", **environment})
    assert systemd.watchdog_interval == interval


def test_no_watchdog_waits_where_nobody_is_told():
    assert Systemd({"WATCHDOG_USEC": "60000000"}).watchdog_interval is None


def test_the_environment_is_left_as_it_is(monkeypatch):
    monkeypatch.setenv("NOTIFY_SOCKET", "/no/such/socket")
    monkeypatch.setenv("WATCHDOG_USEC", "1000000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    before = dict(os.environ)
    assert Systemd().watchdog_interval == 0.5
    assert dict(os.environ) == before

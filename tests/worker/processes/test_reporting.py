"""What systemd and who asks for its health are told of a worker and its children."""

from __future__ import annotations

import os
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from http.client import HTTPConnection
from typing import Final

import pytest

from async_attempts.worker.health import probes
from async_attempts.worker.health.probes import SILENCE, WorkerStatus, livez
from async_attempts.worker.processes import reporting
from async_attempts.worker.processes.reporting import Reporting
from async_attempts.worker.shared import shared_memory
from async_attempts.worker.shared.options import Options
from async_attempts.worker.shared.shared_memory import ChildState, SupervisorState
from tests.worker.helpers.processes import until

WATCHDOG_USEC: Final = 90_000_000
INTERVAL: Final = 45.0

Heard = Callable[[], list[str]]


@pytest.fixture
def moment(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which stands still."""
    moment = [1000.0]
    for module in (shared_memory, probes, reporting):
        monkeypatch.setattr(module, "now", lambda: moment[0])
    return moment


@pytest.fixture
def address() -> Iterator[str]:
    """A path for a socket, which must be short."""
    with tempfile.TemporaryDirectory(prefix="sd") as directory:
        yield f"{directory}/notify"


@pytest.fixture
def heard(address: str) -> Iterator[Heard]:
    """The assignments that systemd has heard since this was last called."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        manager.setblocking(False)

        def arrived() -> list[str]:
            assignments: list[str] = []
            while True:
                try:
                    assignments += manager.recv(4096).decode().splitlines()
                except BlockingIOError:
                    return assignments

        yield arrived


@pytest.fixture
def states(moment: list[float]) -> list[ChildState]:
    """Those of two children, which were born now."""
    states = [ChildState(1), ChildState(1)]
    for state in states:
        state.clear(moment[0])
    return states


@pytest.fixture
def mine(moment: list[float]) -> SupervisorState:
    return SupervisorState()


@pytest.fixture
def told(
    states: list[ChildState],
    mine: SupervisorState,
    address: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Reporting:
    """Speaks for their supervisor to systemd, whose watchdog waits."""
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    monkeypatch.setenv("WATCHDOG_USEC", str(WATCHDOG_USEC))
    return Reporting(Options(database="default", queues=("default",)), states, mine)


def test_it_is_ready_when_the_loop_of_every_child_has_gone_round(told, states, heard):
    states[0].tick(performed=0, in_flight=0)
    told.tick()
    assert "READY=1" not in heard()
    states[1].tick(performed=3, in_flight=2)
    told.tick()
    assert {"READY=1", "STATUS=2 in flight, 3 performed"} <= set(heard())
    told.tick()
    assert heard() == []


def test_the_watchdog_waits_for_a_loop_that_hangs_and_no_longer(told, states, heard, moment):
    for state in states:
        state.tick(0, 0)
    told.tick()
    assert "WATCHDOG=1" in heard()
    moment[0] += INTERVAL
    states[0].tick(0, 0)
    told.tick()
    assert "WATCHDOG=1" not in heard()
    moment[0] += 1
    states[1].tick(0, 0)
    told.tick()
    assert "WATCHDOG=1" in heard()


def test_the_watchdog_is_told_while_the_worker_stops_though_nothing_ticks(
    told, mine, heard, moment
):
    mine.stop()
    told.stopping(3600)
    assert heard() == ["STOPPING=1", f"EXTEND_TIMEOUT_USEC={(3600 + int(SILENCE)) * 1_000_000}"]
    told.tick()
    moment[0] += INTERVAL
    told.tick()
    assert heard() == ["WATCHDOG=1"] * 2


def test_a_child_that_replaces_another_has_as_much_time_as_that_had(states, mine, moment):
    status = WorkerStatus(states, mine)
    moment[0] += 3600
    states[0].tick(0, 0)
    states[1].clear(moment[0])
    assert livez(status).status == 200
    moment[0] += SILENCE + 1
    states[0].tick(0, 0)
    silent = livez(status)
    assert (silent.status, silent.text) == (503, "child 1 has not ticked for 31 s")


def notify(address: str) -> None:
    os.environ["NOTIFY_SOCKET"] = address


def ask(port: int, path: str) -> tuple[int, str]:
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def test_a_worker_tells_how_it_does_from_its_start_to_its_end(database, workers, address, heard):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assignments: list[str] = []

    def has_told(assignment: str) -> bool:
        assignments.extend(heard())
        return assignment in assignments

    flags = (f"--health-port={port}", f"--database={database}")
    worker = workers.start(*flags, prepare=partial(notify, address))
    until(partial(has_told, "READY=1"), worker)
    until(partial(has_told, "STATUS=0 in flight, 0 performed"), worker)
    assert ask(port, "/livez") == (200, "ok")
    assert ask(port, "/readyz") == (200, "ok")
    status, figures = ask(port, "/metrics")
    assert status == 200
    assert "async_attempts_worker_in_flight 0\n" in figures
    assert "STOPPING=1" not in assignments
    worker.signal(signal.SIGTERM)
    assert worker.exit_code() == 0, worker.output
    assert has_told("STOPPING=1")
    assert not worker.group()


def test_what_the_children_could_not_open_is_added_up(states, mine):
    for state in states:
        state.count_missing_key("1a2b3c4d")
    states[1].count_missing_key("none")
    assert WorkerStatus(states, mine).missing_keys() == {"1a2b3c4d": 2, "none": 1}

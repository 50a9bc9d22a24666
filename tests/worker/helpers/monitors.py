"""A supervisor that only has vital signs, the server of its health, and who asks that."""

from __future__ import annotations

import mmap
import os
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import psutil
import pytest
from django.db import connections

from async_attempts.worker.health import server
from tests.worker.helpers.processes import WorkerProcess, until

LAYOUT = struct.Struct("ddd?qq")


class WorkerStatus:
    """The vital signs of two children, in a file that processes map: shared memory."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), LAYOUT.size)

    def show(
        self,
        *,
        ticks: tuple[float, float] = (0, 0),
        lease: float = 0,
        stopping: bool = False,
        performed: int = 0,
        in_flight: int = 0,
    ) -> None:
        LAYOUT.pack_into(self._memory, 0, *ticks, lease, stopping, performed, in_flight)

    def _read(self) -> tuple[Any, ...]:
        return LAYOUT.unpack_from(self._memory)

    def tick_ages(self) -> list[float]:
        return list(self._read()[:2])

    def lease_age(self) -> float:
        return float(self._read()[2])

    def stopping(self) -> bool:
        return bool(self._read()[3])

    def performed(self) -> int:
        return int(self._read()[4])

    def in_flight(self) -> int:
        return int(self._read()[5])

    def missing_keys(self) -> dict[str, int]:
        return {"1a2b3c4d": 3, 'a"b\\c\nd': 1}


class Answer(NamedTuple):
    status: int
    text: str
    headers: dict[str, str]


class Monitor:
    """Asks the server that a supervisor has started."""

    def __init__(self, supervisor: WorkerProcess, status: WorkerStatus, pid: int) -> None:
        self.supervisor = supervisor
        self.status = status
        self.pid = pid
        self.host, self.port = _address(pid)

    def ask(self, path: str, method: str = "GET") -> Answer:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path)
            response = connection.getresponse()
            return Answer(response.status, response.read().decode(), dict(response.getheaders()))
        finally:
            connection.close()

    def answers(self, path: str = "/livez") -> bool:
        """Whether it says anything at all."""
        try:
            return bool(self.ask(path).status)
        except (OSError, HTTPException):
            return False

    def client(self, request: bytes) -> socket.socket:
        """One that has sent this."""
        client = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        client.sendall(request)
        return client


def _address(pid: int) -> tuple[str, int]:
    (address,) = {c.laddr for c in psutil.Process(pid).net_connections() if c.status == "LISTEN"}
    return str(address.ip), int(address.port)


def supervise(
    directory: Path,
    database: str,
    alterations: dict[str, Any],
    deadline: float,
    *,
    kernel: bool,
    host: str,
) -> None:
    """What a supervisor does, as far as health is concerned; ends as the server ends."""
    connections.databases[database].update(alterations)
    server.DEADLINE = deadline
    if not kernel:
        mock.patch.object(server, "die_with_parent").start()
    pid = server.start(0, WorkerStatus(directory / "status"), database=database, host=host)
    (directory / "written").write_text(str(pid))
    (directory / "written").rename(directory / "pid")
    _, status = os.waitpid(pid, 0)
    sys.exit(-os.waitstatus_to_exitcode(status))


Start = Callable[..., Monitor]


@pytest.fixture
def start(workers: Any, tmp_path: Path) -> Iterator[Start]:
    """Starts a supervisor with these settings, whose database's settings are altered so.

    `kernel`: whether there is one that ends the server with it.
    """
    with ExitStack() as cleanup:

        def start(
            database: str = "default",
            alterations: dict[str, Any] | None = None,
            *,
            deadline: float = 0.5,
            kernel: bool = True,
            host: str = "",
            **settings: Any,
        ) -> Monitor:
            (tmp_path / "status").write_bytes(b"\0" * LAYOUT.size)
            workers.settings = settings
            supervisor = workers.start(
                prepare=partial(
                    supervise,
                    tmp_path,
                    database,
                    alterations or {},
                    deadline,
                    kernel=kernel,
                    host=host,
                )
            )
            until((tmp_path / "pid").exists, supervisor)
            pid = int((tmp_path / "pid").read_text())
            cleanup.callback(_killed, psutil.Process(pid))
            return Monitor(supervisor, WorkerStatus(tmp_path / "status"), pid)

        yield start


def _killed(process: psutil.Process) -> None:
    if process.is_running():
        process.kill()

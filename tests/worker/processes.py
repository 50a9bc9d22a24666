"""Workers in processes of their own, to be stopped, killed and frozen."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

PATIENCE = 60.0
"""Seconds after which something that should happen is taken for something that never will."""


class WorkerProcess:
    """A child process and what it wrote."""

    def __init__(self, command: list[str], environment: dict[str, str], log: Path) -> None:
        self._log = log
        with log.open("w") as output:
            self._popen = subprocess.Popen(
                command, env=environment, stdout=output, stderr=subprocess.STDOUT
            )

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def output(self) -> str:
        """All that it wrote, to stdout and stderr."""
        return self._log.read_text()

    @property
    def has_ended(self) -> bool:
        return self._popen.poll() is not None

    def signal(self, number: int) -> None:
        self._popen.send_signal(number)

    def exit_code(self) -> int:
        """Wait for its end; the number of the signal that killed it is negative."""
        return self._popen.wait(PATIENCE)

    def kill(self) -> None:
        """`kill -9`, and wait until it is dead."""
        self._popen.kill()
        self._popen.wait(PATIENCE)


class Workers:
    """Starts child processes that see this test's databases."""

    def __init__(self, environment: dict[str, str], directory: Path) -> None:
        self.environment = environment
        self.directory = directory
        self.started: list[WorkerProcess] = []

    def start(self, *arguments: str, **environment: str) -> WorkerProcess:
        """`run_attempts` with these arguments, with these variables in its environment."""
        return self.python("-m", "django", "run_attempts", *arguments, **environment)

    def python(self, *arguments: str, **environment: str) -> WorkerProcess:
        """Python with these arguments, with these variables in its environment."""
        log = self.directory / f"process-{len(self.started)}.log"
        command = [sys.executable, *arguments]
        process = WorkerProcess(command, self.environment | environment, log)
        self.started.append(process)
        return process


@pytest.fixture
def workers(child_environment: dict[str, str], tmp_path: Path) -> Iterator[Workers]:
    """Starts workers in processes of their own; none outlives the test."""
    workers = Workers(child_environment, tmp_path)
    yield workers
    for process in workers.started:
        process.kill()


def until(condition: Callable[[], Any], *processes: WorkerProcess) -> None:
    """Wait until `condition` holds; fails when it never does, or when a process has ended."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        for process in processes:
            assert not process.has_ended or condition(), process.output
        assert time.monotonic() < deadline, [process.output for process in processes]
        time.sleep(0.005)


def lines(path: Path) -> list[list[str]]:
    """The complete lines of a file that targets write to, each split at its spaces."""
    if not path.exists():
        return []
    text = path.read_text()
    return [line.split() for line in text[: text.rfind("\n") + 1].splitlines()]

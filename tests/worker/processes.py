"""Workers in processes of their own, to be stopped, killed and frozen."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final
from unittest import mock

import pytest
from django.conf import settings
from django.core.management import execute_from_command_line
from django.test import override_settings

PATIENCE: Final = 60.0
"""Seconds after which something that should happen is taken for something that never will."""

FORKS: Final = multiprocessing.get_context("forkserver")
"""Starting Python and Django for each worker would take most of the tests' time."""

FORKS.set_forkserver_preload(["tests.worker.nursery"])


class WorkerProcess:
    """A child process and what it wrote."""

    def __init__(self, process: Any, log: Path) -> None:
        self._process = process
        self._log = log

    @property
    def pid(self) -> int:
        return int(self._process.pid)

    @property
    def output(self) -> str:
        """All that it wrote, to stdout and stderr."""
        return self._log.read_text() if self._log.exists() else ""

    @property
    def has_ended(self) -> bool:
        return self._process.exitcode is not None

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def exit_code(self) -> int:
        """Wait for its end; the number of the signal that killed it is negative."""
        self._process.join(PATIENCE)
        assert self.has_ended, self.output
        return int(self._process.exitcode)

    def kill(self) -> None:
        """`kill -9`, and wait until it is dead."""
        self._process.kill()
        self.exit_code()


class Workers:
    """Starts processes that see this test's databases."""

    def __init__(self, environment: dict[str, str], directory: Path) -> None:
        self.directory = directory
        self.settings: dict[str, Any] = {}
        self.started: list[WorkerProcess] = []
        self._environment = environment

    def start(self, *arguments: str, prepare: Callable[[], object] | None = None) -> WorkerProcess:
        """`manage.py run_attempts` with these arguments; `prepare` is called there before."""
        log = self.directory / f"worker-{len(self.started)}.log"
        process = FORKS.Process(target=_work, args=(arguments, self.settings, log, prepare))
        # The first of them starts the process that all are forked from.
        with mock.patch.dict(os.environ, self._environment):
            process.start()
        worker = WorkerProcess(process, log)
        self.started.append(worker)
        return worker


def _work(
    arguments: tuple[str, ...],
    given: dict[str, Any],
    log: Path,
    prepare: Callable[[], None] | None,
) -> None:
    """Become a worker: all that the process does."""
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(output, stream)
    override_settings(ASYNC_ATTEMPTS={**settings.ASYNC_ATTEMPTS, **given}).enable()
    if prepare is not None:
        prepare()
    execute_from_command_line(["manage.py", "run_attempts", *arguments])


@pytest.fixture
def workers(child_environment: dict[str, str], tmp_path: Path) -> Iterator[Workers]:
    """Starts workers in processes of their own; none outlives the test."""
    workers = Workers(child_environment, tmp_path)
    yield workers
    for worker in workers.started:
        worker.kill()


def until(condition: Callable[[], Any], *processes: WorkerProcess) -> None:
    """Wait until `condition` holds; fails when it never does, or when a process has ended."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        for process in processes:
            assert not process.has_ended or condition(), process.output
        assert time.monotonic() < deadline, [process.output for process in processes]
        time.sleep(0.02)


def lines(path: Path) -> list[list[str]]:
    """The complete lines of a file that targets write to, each split at its spaces."""
    if not path.exists():
        return []
    text = path.read_text()
    return [line.split() for line in text[: text.rfind("\n") + 1].splitlines()]

"""Workers in processes of their own, to be stopped, killed and frozen."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final
from unittest import mock

import psutil
import pytest
from django.conf import settings
from django.core.management import execute_from_command_line
from django.db import connections
from django.test import override_settings

from tests import patience

PATIENCE: Final = patience.PATIENCE

FORKS: Final = multiprocessing.get_context("forkserver")
"""Starting Python and Django for each worker would take most of the tests' time."""

FORKS.set_forkserver_preload(["tests.worker.helpers.preload"])


class WorkerProcess:
    """A worker: the process that was started (its supervisor), its children, and what they wrote.

    They are a process group of their own, so that no child outlives the test that killed its
    supervisor.
    """

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

    def children(self) -> list[psutil.Process]:
        """The processes that it forked and that live, the oldest first."""
        with suppress(psutil.NoSuchProcess):
            found = psutil.Process(self.pid).children(recursive=True)
            return sorted(found, key=psutil.Process.create_time)
        return []

    def group(self) -> list[int]:
        """The pids of all its processes that live, orphans too."""
        return [process.pid for process in psutil.process_iter() if _group(process) == self.pid]

    def kill(self) -> None:
        """`kill -9` of the supervisor alone, and wait until it is dead."""
        self._process.kill()
        self.exit_code()

    def signal_group(self, number: int) -> None:
        """Send it to every process at once, as a terminal or a control group does."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def freeze_group(self) -> None:
        """SIGSTOP, and wait until every process stands still."""
        self.signal_group(signal.SIGSTOP)
        until(lambda: all(_stands_still(pid) for pid in self.group()))

    def thaw_group(self) -> None:
        """Let them go on."""
        self.signal_group(signal.SIGCONT)

    def kill_group(self) -> None:
        """`kill -9` of the supervisor and all children at once; wait until all are dead."""
        self.signal_group(signal.SIGKILL)
        self._process.kill()
        self.exit_code()
        until(lambda: not any(map(_lives, self.group())))


class Workers:
    """Starts processes that see this test's databases."""

    def __init__(self, environment: dict[str, str], directory: Path) -> None:
        self.directory = directory
        self.settings: dict[str, Any] = {}
        self.databases: dict[str, dict[str, Any]] = {}
        self.started: list[WorkerProcess] = []
        self._environment = environment

    def start(self, *arguments: str, prepare: Callable[[], object] | None = None) -> WorkerProcess:
        """`manage.py run_attempts` with these arguments; `prepare` is called there before.

        `settings` and `databases` are its own: options of ASYNC_ATTEMPTS and of `DATABASES`.
        """
        return self.run(partial(_run_attempts, arguments, prepare))

    def run(self, work: Callable[[], object]) -> WorkerProcess:
        """Do this in a process like a worker's."""
        log = self.directory / f"worker-{len(self.started)}.log"
        process = FORKS.Process(target=_live, args=(self.settings, self.databases, log, work))
        # The first of them starts the process that all are forked from.
        with mock.patch.dict(os.environ, self._environment):
            process.start()
        worker = WorkerProcess(process, log)
        self.started.append(worker)
        return worker


def _live(
    given: dict[str, Any],
    databases: dict[str, dict[str, Any]],
    log: Path,
    work: Callable[[], object],
) -> None:
    """All that the process does."""
    os.setsid()
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(output, stream)
    for alias, options in databases.items():
        connections.settings.setdefault(alias, {}).update(options)
    override_settings(ASYNC_ATTEMPTS={**settings.ASYNC_ATTEMPTS, **given}).enable()
    work()


def _run_attempts(arguments: tuple[str, ...], prepare: Callable[[], object] | None) -> None:
    if prepare is not None:
        prepare()
    execute_from_command_line(["manage.py", "run_attempts", *arguments])


@pytest.fixture
def workers(child_environment: dict[str, str], tmp_path: Path) -> Iterator[Workers]:
    """Starts workers in processes of their own; none outlives the test."""
    workers = Workers(child_environment, tmp_path)
    yield workers
    for worker in workers.started:
        worker.kill_group()


def _group(process: psutil.Process) -> int | None:
    with suppress(ProcessLookupError):
        return os.getpgid(process.pid)
    return None


def _lives(pid: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    return False


def _stands_still(pid: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        still = {psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE, psutil.STATUS_TRACING_STOP}
        return psutil.Process(pid).status() in still
    return True


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

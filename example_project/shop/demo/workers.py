"""The workers of the demo: `manage.py run_attempts`, begun and ended as in production."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Final

from django.conf import settings
from django.core.management.base import CommandError

from async_attempts import Attempt, models
from async_attempts.lifecycle import LIVE

PATIENCE: Final = 60.0
"""Seconds for what takes about two."""


@dataclass(frozen=True, slots=True)
class Worker:
    """A process, and the file that it logs to."""

    process: subprocess.Popen[bytes]
    log: IO[str]

    def require_success(self) -> None:
        """Raises CommandError with the log, unless the exit code is 0."""
        if code := self.process.wait(PATIENCE):
            raise CommandError(f"run_attempts ended with {code}:\n{self.logged}")

    @property
    def logged(self) -> str:
        self.log.seek(0)
        return self.log.read()


@contextmanager
def start_workers(number: int, warehouse_url: str) -> Iterator[list[Worker]]:
    """Some workers, which perform until they are told to stop. Raises CommandError."""
    base: Path = settings.BASE_DIR  # type: ignore[misc]  # as for `warehouse_address`
    name = f"demo {os.getpid()}"
    flags = ["--no-reload", "--name", name]
    command = [sys.executable, str(base / "manage.py"), "run_attempts", *flags]
    environment = os.environ | {"WAREHOUSE_URL": warehouse_url}
    workers = []
    with ExitStack() as stack:
        for _ in range(number):
            log = stack.enter_context(TemporaryFile("w+"))
            process = subprocess.Popen(command, env=environment, stderr=log)  # noqa: S603 our own
            stack.callback(process.wait)
            # If they haven't been stopped, something went wrong: then not even politely.
            stack.callback(process.kill)
            workers.append(Worker(process, log))
        started = models.Worker.objects.filter(name=name)
        wait_until(lambda: started.count() == number, workers, "The workers had not started")
        yield workers


def wait_for(attempts: Iterable[Attempt], workers: Sequence[Worker]) -> None:
    """Until these have ended, retried ones included. Raises CommandError."""
    live = Attempt.objects.filter(pk__in=[a.pk for a in attempts], status__in=LIVE)
    wait_until(lambda: not live.exists(), workers, "Some attempts had not ended")


def wait_until(is_so: Callable[[], bool], workers: Sequence[Worker], otherwise: str) -> None:
    """Raises CommandError when it takes too long, and when a worker has ended meanwhile."""
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        for worker in workers:
            if worker.process.poll() is not None:
                raise CommandError(f"run_attempts has ended:\n{worker.logged}")
        if time.monotonic() > deadline:
            raise CommandError(f"{otherwise} after {PATIENCE:.0f} s.")
        time.sleep(0.05)


def stop(workers: Sequence[Worker]) -> None:
    """By SIGTERM, as process supervisors do. Raises CommandError if one doesn't end cleanly."""
    for worker in workers:
        worker.process.terminate()
    for worker in workers:
        worker.require_success()

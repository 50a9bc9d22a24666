"""How the tests of faults start workers, and what they ask of them."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from django.db import connections

from async_attempts.models import Attempt, Worker
from tests.worker.helpers.processes import WorkerProcess, Workers, until

QUICK: Final = "--poll-interval=0.05"
ALONE: Final = ("--threads=1", "--processes=1")
"""One target at a time, in the main thread of one child."""


def processes(database: str) -> str:
    """Two children, where the database can have two."""
    return f"--processes={1 if connections[database].vendor == 'sqlite' else 2}"


def started(workers: Workers, database: str, *arguments: str, **given: Any) -> WorkerProcess:
    """A worker on this database that polls often."""
    return workers.start(QUICK, f"--database={database}", *arguments, **given)


def drained(workers: Workers, database: str, *arguments: str) -> None:
    """A worker performs all that is due, and ends well."""
    worker = started(workers, database, "--drain", *arguments)
    assert worker.exit_code() == 0, worker.output


def stopped(worker: WorkerProcess) -> None:
    """It ends well when it is told to, once it listens."""
    until(worker.children, worker)
    worker.signal(signal.SIGTERM)
    assert worker.exit_code() == 0, worker.output


def rows(database: str) -> Any:
    """All attempts."""
    return Attempt.objects.using(database)


def all_have_ended(database: str) -> bool:
    """Whether every attempt is in a final state."""
    return not rows(database).filter(status__in=("pending", "scheduled", "waiting")).exists()


def workers_named(database: str, name: str) -> Any:
    """The incarnations of workers with this name, the oldest first."""
    return Worker.objects.using(database).filter(name=name).order_by("id")


def states_of_workers(database: str) -> set[str]:
    """The states in which workers are."""
    return set(Worker.objects.using(database).values_list("state", flat=True))


def live_pids(database: str) -> set[int]:
    """The processes of the workers that are registered as live."""
    live = Worker.objects.using(database).filter(state=Worker.State.LIVE)
    return set(live.values_list("pid", flat=True))


def kill_child(worker: WorkerProcess, number: int = 0) -> int:
    """`kill -9` of the child with this number, as soon as there is one; returns its pid."""
    killed: list[int] = []

    def is_done() -> bool:
        pids = [child.pid for child in worker.children()]
        if len(pids) > number:
            with suppress(ProcessLookupError):  # it has ended by itself meanwhile
                os.kill(pids[number], signal.SIGKILL)
                killed.append(pids[number])
        return bool(killed)

    until(is_done, worker)
    return killed[0]


def kill_supervisor(worker: WorkerProcess) -> None:
    """`kill -9` of the supervisor alone: its children end by themselves."""
    worker.kill()


def kill_group(worker: WorkerProcess) -> None:
    """`kill -9` of all its processes at once."""
    worker.kill_group()


KILLS: Final[dict[str, Callable[[WorkerProcess], object]]] = {
    "child": kill_child,
    "supervisor": kill_supervisor,
    "group": kill_group,
}

"""What a worker costs that has nothing to do."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Final

from ..environment import environment_of
from ..measurements import Facts
from ..place import Place
from ..processes import Command, Process, child, run_attempts, running
from ..rounds import reason
from ..statements import Statements

SETTLING: Final = 5.0
"""Seconds that a worker has to start."""


def idling(place: Place) -> Iterator[Facts]:
    """Statements a second, CPU, and the memory of its processes."""
    statements = Statements(place.alias)
    environment = environment_of(place.alias)
    nobody = child("benchmarks.workloads.memory")
    figures = {
        "a bare `django.setup()`": watched(place, statements, nobody, environment),
        "`run_attempts`": watched(place, statements, run_attempts(place.alias), environment),
    }
    left_out: dict[str, str] = {}
    for peer in place.peers:
        try:
            figures[peer.name] = watched(place, statements, peer.worker(), peer.environment())
        except Exception as error:  # noqa: BLE001 - it is left out, and the report says so
            left_out[peer.name] = reason(error)
    columns = [f"{statements.unit} a second", "CPU, %", "PSS of all processes, MB", "processes"]
    workload = f"an idle worker by default settings, over {place.seconds:.0f} s"
    yield Facts(workload, columns, figures, left_out)


def watched(
    place: Place, statements: Statements, command: Command, environment: Mapping[str, str]
) -> list[float]:
    with statements.counted(), running(command, environment) as worker:
        time.sleep(SETTLING)
        executed, used, began = statements.count(), cpu_seconds(worker), time.monotonic()
        time.sleep(place.seconds)
        seconds = time.monotonic() - began
        executed, used = statements.count() - executed, cpu_seconds(worker) - used
        family = worker.family()
        memory = sum(process.memory_full_info().pss for process in family) / 1e6
    return [executed / seconds, 100 * used / seconds, memory, len(family)]


def cpu_seconds(worker: Process) -> float:
    """Of all its processes that run."""
    times = [process.cpu_times() for process in worker.family()]
    return float(sum(one.user + one.system for one in times))

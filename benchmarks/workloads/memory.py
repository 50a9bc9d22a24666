"""Whether a worker grows while it works."""

from __future__ import annotations

import time
from collections.abc import Iterator
from statistics import median
from typing import Final, NamedTuple

import psutil

from ..attempts import call_of
from ..environment import environment_of
from ..floors import sealed
from ..measurements import Facts
from ..place import Place
from ..processes import Process, child, raise_if_failed, run_attempts, running

TIMES: Final = 10
"""So many attempts for one of the run's."""

CHUNK: Final = 10_000
INTERVAL: Final = 0.2
"""Seconds between two samples."""


class Sample(NamedTuple):
    """MB of the process that performs."""

    rss: float
    pss: float


def memory(place: Place) -> Iterator[Facts]:
    """RSS and PSS of the child that performs, as it begins, in the end, and the most."""
    attempts = TIMES * place.attempts
    with running(child(__name__), environment_of(place.alias)) as bare:
        bare.hear()
        least = sample(bare)
    for start in range(0, attempts, CHUNK):
        numbers = range(start, min(start + CHUNK, attempts))
        place.floor.insert_many(sealed(place.alias, map(call_of, numbers)))
    place.floor.settle()
    command = run_attempts(place.alias, "--drain")
    with running(command, environment_of(place.alias)) as worker:
        samples = list(sampled(worker))
        raise_if_failed(worker)
    place.proof.check(attempts)
    place.proof.empty()
    # The first samples are of a process that still imports, the last of one that ends.
    part = max(1, len(samples) // 4)
    figures = {"a bare `django.setup()`": [least.rss, least.pss]}
    for name, some in (
        ("`run_attempts --drain`, second quarter of its time", samples[part : 2 * part]),
        ("the same, fourth quarter", samples[-part:-1]),
    ):
        chosen = some or samples
        figures[name] = [median(kind) for kind in zip(*chosen, strict=True)]
    figures["the same, the most"] = [max(kind) for kind in zip(*samples, strict=True)]
    yield Facts(f"memory over {attempts:,} attempts", ["RSS, MB", "PSS, MB"], figures)


def sampled(worker: Process) -> Iterator[Sample]:
    """Until it ends."""
    while worker.popen.poll() is None:
        try:
            yield sample(worker)
        except (psutil.Error, OSError):
            continue
        time.sleep(INTERVAL)


def sample(process: Process) -> Sample:
    """Of the largest of its processes: a supervisor is smaller than the child that performs."""
    infos = [one.memory_full_info() for one in process.family()]
    largest = max(infos, key=lambda info: info.rss)
    return Sample(largest.rss / 1e6, largest.pss / 1e6)


def main() -> None:
    """A process that has only set Django up."""
    print("ready", flush=True)
    time.sleep(3600)

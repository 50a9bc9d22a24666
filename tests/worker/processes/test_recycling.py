"""A child makes room for a fresh one, and nothing is lost by it."""

from __future__ import annotations

from functools import partial
from typing import Final

import pytest

from tests.shop import effects
from tests.worker.helpers.attempts import enqueued, states
from tests.worker.helpers.processes import lines, until

MEGABYTE: Final = 2**20


def pids(path) -> list[str]:
    return [pid for *_, pid in lines(path)]


def all_succeeded(database: str) -> bool:
    return set(states(database)) == {"succeeded"}


def test_after_so_many_executions(database, workers, tmp_path):
    path = tmp_path / "path"
    for _ in range(20):
        enqueued(database, effects.write, str(path))
    flags = ("--max-performs=5", "--threads=2", "--batch-size=2")
    worker = workers.start(*flags, f"--database={database}")
    until(lambda: all_succeeded(database), worker)
    assert len(pids(path)) == 20
    # One that is worn out ends what it has begun, and may have two more of a batch in flight.
    most = max(pids(path).count(pid) for pid in pids(path))
    assert 5 <= most <= 5 + 2 + 2
    assert len(set(pids(path))) >= 3


def test_after_so_many_seconds(database, workers, tmp_path):
    path = tmp_path / "path"
    flags = ("--max-seconds=0.5", "--poll-interval=0.05")
    worker = workers.start(*flags, f"--database={database}")

    def another_has_performed() -> bool:
        if all_succeeded(database) or not states(database):
            enqueued(database, effects.write, str(path))
        return len(set(pids(path))) >= 3

    until(another_has_performed, worker)
    until(lambda: all_succeeded(database), worker)
    assert len(pids(path)) == len(states(database))


def grow(path: str, megabytes: int) -> None:
    effects.write_line(path)
    effects.seen.append((b"\1" * megabytes * MEGABYTE,))


def growing(megabytes: int) -> None:
    effects.action = partial(grow, megabytes=megabytes)


@pytest.mark.parametrize(("megabytes", "is_too_much"), [(400, True), (1, False)])
def test_when_it_has_grown_too_much(database, workers, tmp_path, megabytes, is_too_much):
    path = tmp_path / "path"
    flags = ("--max-memory-mb=350", "--threads=1", "--batch-size=1", "--poll-interval=0.05")
    worker = workers.start(*flags, f"--database={database}", prepare=partial(growing, megabytes))

    def is_another() -> bool:
        return any(str(child.pid) not in pids(path) for child in worker.children())

    for number in range(1, 5):
        enqueued(database, effects.act, str(path))
        until(lambda: all_succeeded(database), worker)
        assert len(pids(path)) == number
        if is_too_much:
            until(is_another, worker)
    assert len(set(pids(path))) == (4 if is_too_much else 1)


def test_a_drain_goes_on_in_the_next_child(database, workers, tmp_path):
    path = tmp_path / "path"
    for _ in range(12):
        enqueued(database, effects.write, str(path))
    flags = ("--drain", "--max-performs=3", "--threads=1", "--batch-size=1")
    worker = workers.start(*flags, f"--database={database}")
    assert worker.exit_code() == 0, worker.output
    assert all_succeeded(database)
    assert len(pids(path)) == 12
    assert len(set(pids(path))) >= 2


def test_all_children_together_perform_as_many_as_were_asked_for(database, workers, tmp_path):
    path = tmp_path / "path"
    for _ in range(20):
        enqueued(database, effects.write, str(path))
    flags = ("--stop-after=8", "--max-performs=3", "--threads=1", "--batch-size=1")
    worker = workers.start(*flags, f"--database={database}")
    assert worker.exit_code() == 0, worker.output
    assert len(pids(path)) == states(database).count("succeeded") == 8
    assert len(set(pids(path))) > 1

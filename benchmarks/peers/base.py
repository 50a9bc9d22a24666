"""What a workload asks of a peer."""

from __future__ import annotations

import os
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import ClassVar, Final

from django.db import connections

from ..environment import PROCESSES, environment_of
from ..processes import Command, run
from .settings import ALIAS

FIRST_CALLS: Final = "BENCHMARKS_FIRST_CALLS"
"""The environment's name for the directory in which each process notes its first call."""


class NotAllSucceededError(Exception):
    """Something that was enqueued is missing or didn't succeed."""


@dataclass(frozen=True, slots=True)
class Tally:
    """What a peer's own tables say; `ended`: the last success, a Unix time."""

    written: int
    succeeded: int
    ended: float


class Peer(ABC):
    """One peer, by one of its settings."""

    distribution: ClassVar[str]
    settings: ClassVar[str]
    """How it is driven, for the report."""
    tables: ClassVar[Sequence[str]]
    """What holds its rows."""
    share: ClassVar[float] = 1.0
    """Of a round's rows to be drained: some would take minutes for all."""

    @property
    def name(self) -> str:
        return self.distribution

    def described(self) -> str:
        return f"{version(self.distribution)}, {self.settings}"

    def prepare(self) -> None:  # noqa: B027 - most have nothing to do
        """Make its tables, where Django's migrations don't."""

    @abstractmethod
    def enqueue(self, number: int) -> object:
        """Enqueue the no-op in the transaction that is open on Django's connection."""

    @abstractmethod
    def enqueue_note(self, number: int) -> object:
        """Enqueue what calls `noted`."""

    @abstractmethod
    def enqueue_many(self, rows: int) -> object:
        """Enqueue the no-op so many times, in one transaction."""

    @abstractmethod
    def worker(self) -> Command:
        """One worker by its default settings, that runs until it is stopped."""

    @abstractmethod
    def drain(self, rows: int, processes: int) -> None:
        """Perform all that is there."""

    @abstractmethod
    def tally(self) -> Tally:
        """What has become of all that was enqueued."""

    def drained(self, rows: int, processes: int) -> float:
        """Seconds from the first call to the last success, for rows enqueued before."""
        self.empty()
        self.enqueue_many(rows)
        self.execute(f"ANALYZE {', '.join(self.tables)}")
        with tempfile.TemporaryDirectory(prefix="benchmarks_") as directory:
            os.environ[FIRST_CALLS] = directory
            self.drain(rows, processes)
            began = min(float(path.read_text()) for path in Path(directory).iterdir())
        return self.check(rows).ended - began

    def run(self, command: Command, processes: int) -> None:
        run([command] * processes, self.environment(processes))

    def environment(self, processes: int | None = None) -> dict[str, str]:
        """For a drain by so many processes, or for a worker by default settings."""
        return environment_of(ALIAS, {PROCESSES: str(processes or "")}, peers=True)

    def check(self, rows: int) -> Tally:
        """Empty its tables. Raises NotAllSucceededError unless `rows` are there and succeeded."""
        tally = self.check_written(rows)
        if tally.succeeded != rows:
            raise NotAllSucceededError(f"of {rows}, {tally.succeeded} succeeded.")
        return tally

    def check_written(self, rows: int) -> Tally:
        """Empty its tables. Raises NotAllSucceededError unless `rows` are there."""
        tally = self.tally()
        self.empty()
        if tally.written != rows:
            raise NotAllSucceededError(f"of {rows}, {tally.written} are there.")
        return tally

    def empty(self) -> None:
        self.execute(f"TRUNCATE {', '.join(self.tables)} CASCADE")

    def execute(self, statement: str) -> None:
        with connections[ALIAS].cursor() as cursor:
            cursor.execute(statement)

    def tally_by(self, written: str, succeeded: str) -> Tally:
        """By two SELECTs: how many there are; how many succeeded, and the Unix time of the last."""
        with connections[ALIAS].cursor() as cursor:
            cursor.execute(written)
            (number,) = cursor.fetchone()
            cursor.execute(succeeded)
            successes, ended = cursor.fetchone()
        return Tally(number, successes, float(ended or 0))

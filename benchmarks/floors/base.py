"""The rows that raw SQL writes, and the statements that are nearly the same everywhere."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar, Final, NamedTuple, TypeVar

from django.db import connections

from async_attempts import Attempt, Call
from async_attempts.models.new_rows import complete
from async_attempts.models.sealing import seal

from ..attempts import call_of

BATCH: Final = 500

INTO: Final = """
INSERT INTO async_attempts_attempt (
    id, queue, target, method_name, args, scheduled_at, created_at, status,
    priority, num_attempts, num_crashes, claim_seq, blockers,
    cancel_requested, keep_result, has_dependents,
    reason, error_class, progress_note, limit_key, metadata
) """

CONSTANTS: Final = """'pending', 0, 0, 0, 0, 0, FALSE, FALSE, FALSE, '', '', '', '', '{}'"""

_T = TypeVar("_T")


class Row(NamedTuple):
    """The columns of a new attempt that aren't constants; `id` as the driver takes it."""

    id: Any
    queue: str
    target: str
    method_name: str
    args: bytes


def sealed(alias: str, calls: Iterable[Call]) -> list[Row]:
    """The rows of `calls`, their arguments encrypted, ready to be written."""
    key = Attempt._meta.pk
    made = []
    for one in calls:
        attempt = one.attempt()
        complete(attempt)
        seal(attempt)
        made.append(
            Row(
                key.get_db_prep_value(attempt.pk, connections[alias]),
                attempt.queue,
                attempt.target,
                attempt.method_name,
                bytes(attempt.args),
            )
        )
    return made


def batches(items: Sequence[_T]) -> Iterator[Sequence[_T]]:
    for start in range(0, len(items), BATCH):
        yield items[start : start + BATCH]


class Floor(ABC):
    """Raw SQL on one database."""

    place: ClassVar[str]
    """A parameter, as the driver wants it written."""
    now: ClassVar[str]

    def __init__(self, alias: str) -> None:
        self.alias = alias
        self.driver = self.connected()
        self._sealed: list[Row] = []

    def sealed(self, rows: int) -> list[Row]:
        """New attempts with encrypted arguments, ready to be written; the same ones each time."""
        missing = range(len(self._sealed), rows)
        self._sealed += sealed(self.alias, map(call_of, missing))
        return self._sealed[:rows]

    @abstractmethod
    def connected(self) -> Any:
        """A new connection of the driver, in autocommit."""

    @abstractmethod
    def insert(self, row: Row) -> None:
        """Write one row in the transaction that is open on Django's connection."""

    @abstractmethod
    def insert_many(self, rows: Sequence[Row]) -> None:
        """Write `rows` in one transaction."""

    @abstractmethod
    def drain(self) -> None:
        """Claim 500 rows and finish them, each in a transaction, until none is left."""

    @abstractmethod
    def settle(self) -> None:
        """Do what the server does by itself some time after many rows came in."""

    def values(self, rows: int = 1) -> str:
        """VALUES of so many rows."""
        row = f"({', '.join([self.place] * 5)}, {self.now}, {self.now}, {CONSTANTS})"
        return f"VALUES {', '.join([row] * rows)}"

    def close(self) -> None:
        self.driver.close()

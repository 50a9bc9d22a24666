"""Targets that see for themselves whether there are more of them than are allowed."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from async_attempts import Backoff, attemptable

AT_ONCE = Backoff.fixed(0)


@attemptable(backoff=AT_ONCE, max_attempts=1000)
def take_one_of(directory: str, name: str, places: int, seconds: float = 0.0) -> None:
    """Notes "crowded" in the directory's record if none of so many places of this name is free."""
    with _place(Path(directory), name, places) as number:
        _note(Path(directory), f"{name} {'crowded' if number is None else 'took'}")
        time.sleep(seconds)


@attemptable(concurrency=2, backoff=AT_ONCE)
def one_of_two(directory: str, seconds: float = 0.0) -> None:
    take_one_of(directory, "own", 2, seconds)


def _of_customer(_directory: str, customer: int, **_: object) -> str:
    return f"customer-{customer}"


@attemptable(limit_key=_of_customer, backoff=AT_ONCE)
def one_of_a_customer(directory: str, customer: int, seconds: float = 0.0) -> None:
    take_one_of(directory, f"customer-{customer}", 1, seconds)


@attemptable(limit_key="all-of-them")
def fixed_key() -> None: ...


@attemptable(limit_key=lambda: 1 / 0)
def broken_key() -> None: ...


@attemptable(limit_key=lambda urgent: None if urgent else "slow", concurrency=3)
def unless_urgent(urgent: bool) -> None: ...


def record(directory: object) -> list[str]:
    """What they noted."""
    path = Path(str(directory)) / "record"
    return path.read_text().splitlines() if path.exists() else []


@contextmanager
def _place(directory: Path, name: str, places: int) -> Iterator[int | None]:
    """The operating system's lock on one of the places: it goes with the process."""
    with ExitStack() as files:
        for number in range(places):
            file = files.enter_context((directory / f"{name}.{number}").open("w"))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield number
            return
        yield None


def _note(directory: Path, line: str) -> None:
    with (directory / "record").open("a") as file:
        file.write(f"{line}\n")

"""Targets that follow each other, and note what they were called with."""

from __future__ import annotations

from typing import Any

from async_attempts import Backoff, Ending, Expire, Fail, attemptable, current_attempt

noted: list[tuple[str, Any]] = []


@attemptable
def fetch(value: Any) -> Any:
    noted.append(("fetch", value))
    return value


@attemptable
def increase(value: int, by: int = 1) -> int:
    noted.append(("increase", value))
    return value + by


@attemptable
def build(results: list[Any], name: str = "") -> str:
    noted.append(("build", results))
    return f"{name}{results}"


@attemptable(max_attempts=1)
def refuse(value: Any = None) -> None:
    noted.append(("refuse", value))
    raise ValueError("the stove is cold")


@attemptable
def give_up(value: Any = None) -> None:
    raise Fail("no more of it")


@attemptable
def drop(value: Any = None) -> None:
    raise Expire("out of season")


@attemptable
def report(ending: Ending) -> None:
    noted.append(("report", ending))


@attemptable
def settle(endings: list[Ending]) -> None:
    noted.append(("settle", endings))


@attemptable
def clear_up() -> None:
    noted.append(("clear_up", None))


@attemptable(backoff=Backoff(first=0, max_attempts=1))
def look_back() -> None:
    noted.append(("look_back", current_attempt().prerequisites))


@attemptable
def make_something_odd() -> object:
    return object()


@attemptable(keep_result=False)
def forget_it() -> int:
    return 1


broken = True


@attemptable(max_attempts=1)
def break_at_first() -> str:
    if broken:
        raise RuntimeError("not yet")
    return "mended"


@attemptable
def pad(text: str, size: int) -> str:
    return "x" * size


@attemptable
def measure(text: str) -> int:
    return len(text)

"""Targets whose arguments nobody else should see."""

from __future__ import annotations

from typing import Any, NoReturn

from async_attempts import attemptable


@attemptable
def take(secret: Any = None, other: Any = None) -> None: ...


@attemptable
def take_handed(handed: Any, secret: Any = None, other: Any = None) -> None: ...


def no_key(*_: Any) -> NoReturn:
    raise ArithmeticError


@attemptable(limit_key=no_key)
def limited(secret: str) -> None: ...

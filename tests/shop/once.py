"""Targets that are called at most once."""

from __future__ import annotations

from typing import Any

from async_attempts import Backoff, attemptable
from tests.shop import effects, hazards


@attemptable(max_attempts=1, max_crashes=1)
def act_once(*args: Any, **kwargs: Any) -> Any:
    return effects.action(*args, **kwargs)


@attemptable(max_attempts=1, max_crashes=1)
async def act_once_asynchronously(*args: Any, **kwargs: Any) -> Any:
    return await effects.action(*args, **kwargs)


@attemptable(backoff=Backoff.fixed(3600), max_crashes=1)
def act_after_crashes(*args: Any, **kwargs: Any) -> Any:
    return effects.action(*args, **kwargs)


@attemptable(max_attempts=1, max_crashes=1)
def die_once(path: str, how: str) -> None:
    hazards.die(path, how)

"""The fixtures of the worker's tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.shop import effects, follow_ups, listeners
from tests.worker.helpers.characters import few_characters
from tests.worker.helpers.executing import one_call_thread
from tests.worker.helpers.processes import workers
from tests.worker.helpers.waiting import beside, nobody_waits_any_more

__all__ = [
    "acting",
    "beside",
    "few_characters",
    "nobody_waits_any_more",
    "one_call_thread",
    "workers",
]


@pytest.fixture(autouse=True)
def _nothing_seen() -> Iterator[None]:
    """What targets of this process have noted is of this test, not of one in another folder."""
    for noted in (effects.seen, follow_ups.ended, listeners.heard):
        noted.clear()
    yield
    effects.seen.clear()


@pytest.fixture
def acting(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., Any]], None]:
    """Says what the targets named `act…` do in this test."""
    return lambda action: monkeypatch.setattr(effects, "action", action)

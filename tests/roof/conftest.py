"""The fixtures of the roof's tests."""

from __future__ import annotations

import pytest

from async_attempts.events.listeners import registry


@pytest.fixture
def listening(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who begins to listen in this test stops with it."""
    monkeypatch.setattr(registry, "listeners", registry.listeners)
    monkeypatch.setattr(registry, "by_event", registry.by_event)

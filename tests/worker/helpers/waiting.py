"""A worker beside those who wait: in a thread of this process, with connections of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connections

from async_attempts.results import polling
from tests.worker.helpers.attempts import drain
from tests.worker.helpers.processes import PATIENCE


class Beside:
    """Does one thing after the other while the test waits."""

    def __init__(self) -> None:
        self._threads: list[threading.Thread] = []
        self._raised: list[BaseException] = []

    def do(self, work: Callable[..., object], *args: Any) -> None:
        """Begin it now."""
        thread = threading.Thread(target=self._do, args=[work, *args], daemon=True)
        self._threads.append(thread)
        thread.start()

    def drain(self, database: str) -> None:
        """Perform what is due."""
        self.do(drain, database)

    def _do(self, work: Callable[..., object], *args: Any) -> None:
        try:
            work(*args)
        except BaseException as error:  # noqa: BLE001 whatever it is, the test fails of it
            self._raised.append(error)
        finally:
            connections.close_all()

    def close(self) -> None:
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()
        assert not self._raised, self._raised


@pytest.fixture
def beside() -> Iterator[Beside]:
    """What happens while the test waits."""
    beside = Beside()
    yield beside
    beside.close()


@pytest.fixture(autouse=True)
def nobody_waits_any_more() -> Iterator[None]:
    """No poll is left to the next test."""
    yield
    assert not polls()


def polls() -> list[polling.Poll]:
    """The polls that wait in this process."""
    return [poll for poller in polling._pollers.values() for poll in poller._present()]

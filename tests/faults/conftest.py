"""The fixtures of the tests in which workers die."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.worker.processes import Workers, workers

__all__ = ["ledger", "mortals", "workers"]

LEASE = 1.0
MAX_CRASHES = 3


@pytest.fixture
def mortals(workers: Workers) -> Workers:
    """Starts workers whose lease is short, so that a dead one is soon missed."""
    workers.settings = {"LEASE": LEASE, "MAX_CRASHES": MAX_CRASHES}
    return workers


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """The file in which executions leave their lines."""
    return tmp_path / "ledger"

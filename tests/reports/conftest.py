"""The fixtures of the suites whose subjects the reports are about."""

from __future__ import annotations

from tests.faults.conftest import book, mortals
from tests.store.conftest import sessions, store, worker
from tests.worker.conftest import _nothing_seen, acting
from tests.worker.helpers.processes import workers

__all__ = ["_nothing_seen", "acting", "book", "mortals", "sessions", "store", "worker", "workers"]

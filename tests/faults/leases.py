"""Time passes for the leases of workers."""

from __future__ import annotations

from datetime import timedelta

from async_attempts.models import DatabaseNow, Worker


def let_leases_run_out(database: str) -> None:
    """As if every worker that is registered now had been silent for its whole lease."""
    live = Worker.objects.using(database).filter(state=Worker.State.LIVE)
    assert live.update(lease=DatabaseNow() - timedelta(seconds=1))

"""No attempt begins after its `expires_at`, wherever it waits for that."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta

from tests.shop import effects
from tests.worker.helpers.attempts import drain, enqueued, stored

SOON = {"expires_at": timedelta(seconds=0.3)}


def test_what_expires_in_flight_is_not_begun(database, monkeypatch):
    monkeypatch.setattr(effects, "action", lambda: time.sleep(0.45))
    drain(database)  # what the first one imports delays no claim of what expires soon
    enqueued(database, effects.act)
    late = [enqueued(database, effects.record, n, options=SOON) for n in range(3)]
    in_time = enqueued(database, effects.record, "in time", options={"expires_at": 3600})
    drain(database, threads=1, batch_size=10)
    assert [args for _, args, _ in effects.seen] == [("in time",)]
    for attempt in late:
        found = stored(attempt)
        assert (found.status, found.num_attempts) == ("expired", 0)
        assert found.reason == "not begun before its expires_at"
    assert stored(in_time).status == "succeeded"


def test_what_expires_while_it_waits_for_the_event_loop_is_not_begun(database, monkeypatch):
    async def action():
        time.sleep(0.45)  # noqa: ASYNC251 - it keeps the loop from beginning others
        await asyncio.sleep(0)

    monkeypatch.setattr(effects, "action", action)
    drain(database)
    enqueued(database, effects.act_asynchronously)
    late = enqueued(database, effects.record_async, options=SOON)
    drain(database, threads=1, batch_size=10)
    assert effects.seen == []
    assert (stored(late).status, stored(late).num_attempts) == ("expired", 0)

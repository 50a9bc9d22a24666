"""The note of what has begun belongs to one execution at a time, and says when that has ended."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import uuid4

import pytest

from async_attempts import signals
from async_attempts.store import Claim, store_for
from async_attempts.worker.execution.outcomes import RELEASED
from async_attempts.worker.execution.prepare import Prepared
from async_attempts.worker.execution.runner import Runner
from async_attempts.worker.execution.timeouts import NoWatch
from async_attempts.worker.shared.shared_memory import ChildState, now
from tests.shop import effects
from tests.store.rows import registered
from tests.worker.helpers.attempts import enqueued, raising

pytestmark = pytest.mark.only("sqlite", reason="nothing is asked of the database")


class Alive:
    holds_until = float("inf")


class Full:
    """An event loop without room, beside which another thread begins something meanwhile."""

    def __init__(self, state: ChildState, deadline: float) -> None:
        self.state = state
        self.deadline = deadline

    def perform(self, ready: Prepared) -> bool:
        self.state.begin(uuid4().bytes, 1, self.deadline)
        return False

    def seconds_waiting(self) -> float:
        return 0.0

    def give_back(self) -> Iterable[Claim]:
        return ()


def claimed(database: str, target: object) -> Claim:
    enqueued(database, target)
    store = store_for(database)
    (claim,) = store.claims.claim(registered(store).pk, ["default"], 1)
    return claim


def test_who_finds_no_room_in_the_event_loop_touches_nobody_elses_note(database):
    state, deadline = ChildState(1), now() + 60
    full = Full(state, deadline)
    runner = Runner(store_for(database), Alive(), NoWatch(), state, async_executor=full)
    execution = runner.perform(claimed(database, effects.act_asynchronously))
    assert execution is not None
    assert (execution.outcome, execution.offset) == (RELEASED, None)
    assert [begun.deadline for begun in state.begun()] == [deadline]


def test_what_could_not_be_performed_at_all_is_noted_as_ended(database, monkeypatch):
    """Else it would be taken for late, as long as the database is away and it isn't recorded."""
    monkeypatch.setattr(signals.started, "receivers", [object()])
    monkeypatch.setattr(signals.started, "send_robust", raising(RuntimeError()))
    state = ChildState(1)
    execution = Runner(store_for(database), Alive(), NoWatch(), state).perform(
        claimed(database, effects.record)
    )
    assert execution is not None
    assert [begun.deadline for begun in state.begun()] == [0.0]

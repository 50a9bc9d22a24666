"""When a worker looks, and what it sees."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext

from async_attempts.lifecycle import Succeeded
from async_attempts.models import DatabaseNow
from async_attempts.store import store_for
from async_attempts.store.expressions import seconds_from_now
from async_attempts.store.revisits import FIRST, Revisits, What
from async_attempts.worker.loop import poller as pollers
from async_attempts.worker.loop.poller import BUSY_INTERVAL, LOCKED_PAUSE, Poller
from async_attempts.worker.loop.queue_filter import QueueFilter
from async_attempts.worker.loop.wakeup import WakeUp
from async_attempts.worker.shared.options import LONGEST_POLL
from async_attempts.worker.shared.registration import new_worker
from tests.shop import effects
from tests.worker.helpers.attempts import enqueued, put, stored

IDLE = 600.0


class Idle(WakeUp):
    """How long an idle worker sleeps, if nobody wakes it."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.is_notified = False
        self.deaf_for = 0.0
        self.times_busy = 0

    def fileno(self) -> int | None:
        return None

    @property
    def deafness(self) -> float:
        return self.deaf_for

    def notified(self) -> bool:
        return self.is_notified

    def longest_sleep(self) -> float:
        return self._seconds

    def busy(self) -> None:
        self.times_busy += 1

    def close(self) -> None:
        """Nothing is open."""


@pytest.fixture
def moment(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time by the lookout's clock, which stands still."""
    moment = [1000.0]
    monkeypatch.setattr(pollers, "now", lambda: moment[0])
    return moment


@pytest.fixture
def looking(
    database: str, moment: list[float], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Poller]:
    """A lookout that has claimed in vain, and has looked then."""
    # A worker of another test, whose database was away at its end, may have left something.
    monkeypatch.setattr(store_for(database).database, "revisits", Revisits())

    def looking(seconds: float = IDLE, *, has_room: bool = True) -> Poller:
        poller = Poller(store_for(database), QueueFilter(("default",)), Idle(seconds))
        poller.took(0, 1)
        poller.poll(has_room=has_room)
        return poller

    return looking


def test_before_the_first_claim_there_may_be_something(database, moment):
    assert Poller(store_for(database), QueueFilter(("default",)), None).may_claim


def test_where_nothing_is_due_it_looks_as_seldom_as_it_may(looking):
    poller = looking(3.0)
    assert (poller.may_claim, poller.found_nothing, poller.seconds) == (False, True, 3.0)
    assert looking(IDLE).seconds == LONGEST_POLL


def test_what_is_due_is_worth_a_claim(database, looking):
    enqueued(database, effects.act)
    poller = looking()
    assert (poller.may_claim, poller.found_nothing) == (True, False)


def test_what_is_due_in_another_queue_is_not(database, looking):
    enqueued(database, effects.act, options={"queue": "emails"})
    assert not looking().may_claim


def test_it_looks_again_when_the_next_scheduled_is_due(database, looking):
    enqueued(database, effects.act, options={"scheduled_at": timedelta(hours=1)})
    sooner = enqueued(database, effects.act, options={"scheduled_at": timedelta(hours=1)})
    assert looking().seconds == LONGEST_POLL
    put(sooner, scheduled_at=seconds_from_now(2))
    assert looking().seconds < 3


def test_what_became_due_is_promoted_and_worth_a_claim(database, looking):
    attempt = enqueued(database, effects.act, options={"scheduled_at": timedelta(hours=1)})
    put(attempt, scheduled_at=DatabaseNow())
    assert looking().may_claim
    assert stored(attempt).status == "pending"


def test_it_asks_nothing_before_it_is_time(database, looking, moment):
    poller = looking()
    attempt = enqueued(database, effects.act)
    poller.poll(has_room=True)
    assert not poller.may_claim
    moment[0] += LONGEST_POLL
    poller.poll(has_room=True)
    assert poller.may_claim
    assert stored(attempt).state == "pending"


def test_a_notification_is_worth_a_claim_if_there_is_room(looking):
    poller = looking()
    poller._wakeup.is_notified = True
    poller.poll(has_room=False)
    assert not poller.may_claim
    poller.poll(has_room=True)
    assert poller.may_claim


def test_a_notification_costs_a_claim_and_no_look_beside_it(looking, moment):
    poller = looking()
    poller.took(0, 1)
    poller._wakeup.is_notified = True
    with CaptureQueriesContext(connections[poller._store.database.alias]) as asked:
        poller.poll(has_room=True)
    assert poller.may_claim
    assert len(asked) == 0


def test_notifications_without_end_leave_it_a_look_each_second(database, looking, moment):
    poller = looking()
    scheduled = enqueued(database, effects.act)
    put(scheduled, status="scheduled", scheduled_at=DatabaseNow())
    poller._wakeup.is_notified = True
    poller.took(0, 1)
    poller.poll(has_room=True)
    assert stored(scheduled).status == "scheduled"
    moment[0] += BUSY_INTERVAL
    poller.poll(has_room=True)
    assert stored(scheduled).status == "pending"


def test_it_goes_round_when_it_listens_again(looking):
    poller = looking()
    poller._wakeup.deaf_for = 0.06
    assert poller.seconds == 0.06


def test_a_busy_worker_looks_too(database, looking, moment):
    poller = looking(has_room=False)
    assert poller.seconds == BUSY_INTERVAL
    scheduled, suspect = enqueued(database, effects.act), enqueued(database, effects.act)
    put(scheduled, status="scheduled", scheduled_at=DatabaseNow())
    put(suspect, num_crashes=1)
    moment[0] += BUSY_INTERVAL
    poller.poll(has_room=False)
    assert stored(scheduled).status == "pending"
    assert poller.suspects_seen_at == moment[0]


def test_each_poll_says_when_suspects_were_last_seen(database, looking, moment):
    suspect = enqueued(database, effects.act)
    put(suspect, num_crashes=1)
    poller = looking()
    assert poller.suspects_seen_at == moment[0]
    moment[0] += BUSY_INTERVAL
    poller.poll(has_room=True)
    assert poller.suspects_seen_at == moment[0]
    put(suspect, num_crashes=0)
    moment[0] += BUSY_INTERVAL
    poller.poll(has_room=True)
    assert poller.suspects_seen_at == 0.0


def test_what_was_passed_over_is_waited_for(looking):
    poller = looking()
    revisits = poller._store.database.revisits
    revisits.begin()
    assert poller.is_done
    revisits.add(What.EDGES, [1])
    assert poller.seconds <= FIRST
    assert not poller.is_done
    poller.close()
    revisits.visit(What.EDGES, len)
    assert poller.is_done


def test_suspects_that_the_limits_of_their_queue_hold_back_are_not_seen(
    database, looking, moment, settings
):
    queues = {"default": {"concurrency": 1}}
    settings.ASYNC_ATTEMPTS = settings.ASYNC_ATTEMPTS | {"QUEUES": queues}
    store, worker = store_for(database), new_worker(queues=["default"])
    store.workers.register(worker, 30)
    enqueued(database, effects.act)
    claims = store.claims.claim(worker.pk, ["default"], 1)
    put(enqueued(database, effects.act), num_crashes=1)
    poller = looking()
    assert not poller.suspects_seen_at
    # That is no end of the work.
    assert (poller.found_nothing, poller.is_done) == (False, False)
    store.outcomes.finish(worker.pk, [(claims[0], Succeeded())])
    moment[0] += BUSY_INTERVAL
    poller.poll(has_room=True)
    assert poller.suspects_seen_at == moment[0]


def test_suspects_alone_are_not_worth_an_ordinary_claim(database, looking):
    put(enqueued(database, effects.act), num_crashes=1)
    poller = looking()
    assert (poller.may_claim, poller.found_nothing) == (False, False)
    assert poller.suspects_seen_at


def test_due_suspects_are_no_end_of_a_drain(database, looking):
    put(enqueued(database, effects.act), num_crashes=1)
    poller = looking()
    poller.found_nothing = True
    assert not poller.is_done


def test_a_claim_that_got_all_it_wanted_is_worth_another(looking):
    poller = looking()
    poller.took(5, 5)
    assert poller.may_claim
    poller.took(4, 5)
    assert (poller.may_claim, poller.seconds) == (False, 0.0)


def test_a_claim_in_vain_of_what_is_due_is_tried_again_soon(database, looking):
    enqueued(database, effects.act)
    poller = looking()
    poller.took(0, 5)
    assert (poller.found_nothing, poller.seconds) == (True, pytest.approx(LOCKED_PAUSE))


@pytest.mark.parametrize(
    "happens",
    [Poller.expect, lambda poller: poller.took(1, 5), lambda poller: poller.took_suspect(1)],
    ids=["it may be due again", "some was claimed", "a suspect was claimed"],
)
def test_what_a_look_saw_before_says_nothing_of_what_is_left(database, looking, happens):
    enqueued(database, effects.act)
    put(enqueued(database, effects.act), num_crashes=1)
    poller = looking()
    poller.took(0, 5)
    assert poller.found_nothing
    poller.poll(has_room=True)
    happens(poller)
    assert not poller.found_nothing
    poller.took(0, 5)
    assert not poller.found_nothing


def test_a_dead_worker_is_seen(database, looking):
    store = store_for(database)
    assert not looking().has_late_workers
    worker = new_worker(queues=["default"])
    store.workers.register(worker, 30)
    assert not looking().has_late_workers
    store.database.workers.update(lease=seconds_from_now(-1))
    assert looking().has_late_workers

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
from async_attempts.store.revisits import FIRST, What
from async_attempts.store.rows import seconds_from_now
from async_attempts.worker.loop import poller as lookouts
from async_attempts.worker.loop.poller import BUSY_INTERVAL, LOCKED_PAUSE, Lookout
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
    monkeypatch.setattr(lookouts, "now", lambda: moment[0])
    return moment


@pytest.fixture
def looking(database: str, moment: list[float]) -> Callable[..., Lookout]:
    """A lookout that has claimed in vain, and has looked then."""

    def looking(seconds: float = IDLE, *, has_room: bool = True) -> Lookout:
        lookout = Lookout(store_for(database), ("default",), Idle(seconds))
        lookout.took(0, 1)
        lookout.look(has_room=has_room)
        return lookout

    return looking


def test_before_the_first_claim_there_may_be_something(database, moment):
    assert Lookout(store_for(database), ("default",), None).is_hungry


def test_where_nothing_is_due_it_looks_as_seldom_as_it_may(looking):
    lookout = looking(3.0)
    assert (lookout.is_hungry, lookout.is_dry, lookout.seconds) == (False, True, 3.0)
    assert looking(IDLE).seconds == LONGEST_POLL


def test_what_is_due_is_worth_a_claim(database, looking):
    enqueued(database, effects.act)
    lookout = looking()
    assert (lookout.is_hungry, lookout.is_dry) == (True, False)


def test_what_is_due_in_another_queue_is_not(database, looking):
    enqueued(database, effects.act, options={"queue": "emails"})
    assert not looking().is_hungry


def test_it_looks_again_when_the_next_scheduled_is_due(database, looking):
    enqueued(database, effects.act, options={"scheduled_at": timedelta(hours=1)})
    sooner = enqueued(database, effects.act, options={"scheduled_at": timedelta(hours=1)})
    assert looking().seconds == LONGEST_POLL
    put(sooner, scheduled_at=seconds_from_now(2))
    assert looking().seconds < 3


def test_what_became_due_is_promoted_and_worth_a_claim(database, looking):
    attempt = enqueued(database, effects.act, options={"scheduled_at": timedelta(hours=1)})
    put(attempt, scheduled_at=DatabaseNow())
    assert looking().is_hungry
    assert stored(attempt).status == "pending"


def test_it_asks_nothing_before_it_is_time(database, looking, moment):
    lookout = looking()
    attempt = enqueued(database, effects.act)
    lookout.look(has_room=True)
    assert not lookout.is_hungry
    moment[0] += LONGEST_POLL
    lookout.look(has_room=True)
    assert lookout.is_hungry
    assert stored(attempt).state == "pending"


def test_a_notification_is_worth_a_claim_if_there_is_room(looking):
    lookout = looking()
    lookout._wakeup.is_notified = True
    lookout.look(has_room=False)
    assert not lookout.is_hungry
    lookout.look(has_room=True)
    assert lookout.is_hungry


def test_a_notification_costs_a_claim_and_no_look_beside_it(looking, moment):
    lookout = looking()
    lookout.took(0, 1)
    lookout._wakeup.is_notified = True
    with CaptureQueriesContext(connections[lookout._store.alias]) as asked:
        lookout.look(has_room=True)
    assert lookout.is_hungry
    assert len(asked) == 0


def test_notifications_without_end_leave_it_a_look_each_second(database, looking, moment):
    lookout = looking()
    scheduled = enqueued(database, effects.act)
    put(scheduled, status="scheduled", scheduled_at=DatabaseNow())
    lookout._wakeup.is_notified = True
    lookout.took(0, 1)
    lookout.look(has_room=True)
    assert stored(scheduled).status == "scheduled"
    moment[0] += BUSY_INTERVAL
    lookout.look(has_room=True)
    assert stored(scheduled).status == "pending"


def test_it_goes_round_when_it_listens_again(looking):
    lookout = looking()
    lookout._wakeup.deaf_for = 0.06
    assert lookout.seconds == 0.06


def test_a_busy_worker_looks_too(database, looking, moment):
    lookout = looking(has_room=False)
    assert lookout.seconds == BUSY_INTERVAL
    scheduled, suspect = enqueued(database, effects.act), enqueued(database, effects.act)
    put(scheduled, status="scheduled", scheduled_at=DatabaseNow())
    put(suspect, num_crashes=1)
    moment[0] += BUSY_INTERVAL
    lookout.look(has_room=False)
    assert stored(scheduled).status == "pending"
    assert lookout.has_suspects
    assert lookout.suspects_since == moment[0]


def test_suspects_wait_since_they_were_first_seen(database, looking, moment):
    put(enqueued(database, effects.act), num_crashes=1)
    lookout = looking()
    first_seen = moment[0]
    moment[0] += BUSY_INTERVAL
    lookout.look(has_room=True)
    assert (lookout.has_suspects, lookout.suspects_since) == (True, first_seen)


def test_what_was_passed_over_is_waited_for(looking):
    lookout = looking()
    revisits = lookout._store.revisits
    revisits.begin()
    assert lookout.is_done
    revisits.add(What.EDGES, [1])
    assert lookout.seconds <= FIRST
    assert not lookout.is_done
    lookout.close()
    revisits.visit(What.EDGES, len)
    assert lookout.is_done


def test_no_room_is_made_for_suspects_that_the_limits_of_their_queue_hold_back(
    database, looking, moment, settings
):
    queues = {"default": {"concurrency": 1}}
    settings.ASYNC_ATTEMPTS = settings.ASYNC_ATTEMPTS | {"QUEUES": queues}
    store, worker = store_for(database), new_worker(queues=["default"])
    store.register(worker, 30)
    enqueued(database, effects.act)
    claims = store.claim(worker.pk, ["default"], 1)
    put(enqueued(database, effects.act), num_crashes=1)
    lookout, first_seen = looking(), moment[0]
    assert not lookout.has_suspects
    # That is no end of the work.
    assert (lookout.is_dry, lookout.is_done) == (False, False)
    store.finish(worker.pk, [(claims[0], Succeeded())])
    moment[0] += BUSY_INTERVAL
    lookout.look(has_room=True)
    assert (lookout.has_suspects, lookout.suspects_since) == (True, first_seen)


def test_suspects_alone_are_not_worth_an_ordinary_claim(database, looking):
    put(enqueued(database, effects.act), num_crashes=1)
    lookout = looking()
    assert (lookout.is_hungry, lookout.is_dry, lookout.has_suspects) == (False, False, True)


def test_a_claim_that_got_all_it_wanted_is_worth_another(looking):
    lookout = looking()
    lookout.took(5, 5)
    assert lookout.is_hungry
    lookout.took(4, 5)
    assert (lookout.is_hungry, lookout.seconds) == (False, 0.0)


def test_a_claim_in_vain_of_what_is_due_is_tried_again_soon(database, looking):
    enqueued(database, effects.act)
    lookout = looking()
    lookout.took(0, 5)
    assert (lookout.is_dry, lookout.seconds) == (True, pytest.approx(LOCKED_PAUSE))


@pytest.mark.parametrize(
    "happens",
    [Lookout.expect, lambda lookout: lookout.took(1, 5), lambda lookout: lookout.took_suspects(1)],
    ids=["it may be due again", "some was claimed", "a suspect was claimed"],
)
def test_what_a_look_saw_before_says_nothing_of_what_is_left(database, looking, happens):
    enqueued(database, effects.act)
    put(enqueued(database, effects.act), num_crashes=1)
    lookout = looking()
    lookout.took(0, 5)
    assert lookout.is_dry
    lookout.look(has_room=True)
    happens(lookout)
    assert not lookout.is_dry
    lookout.took(0, 5)
    assert not lookout.is_dry


def test_a_dead_worker_is_seen(database, looking):
    store = store_for(database)
    assert not looking().has_late_workers
    worker = new_worker(queues=["default"])
    store.register(worker, 30)
    assert not looking().has_late_workers
    store.workers.update(lease=seconds_from_now(-1))
    assert looking().has_late_workers

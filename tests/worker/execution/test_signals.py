"""What workers announce, when it is committed; and that nobody who doesn't listen pays for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.dispatch import Signal

from async_attempts import Expire, Fail, Snooze, signals
from async_attempts.models import DatabaseNow
from async_attempts.store import store_for
from async_attempts.store.expressions import seconds_from_now
from async_attempts.worker.execution.acknowledge import SIGNAL_OF
from tests.shop import effects
from tests.store.rows import let_lease_run_out, registered
from tests.worker.helpers.attempts import drain, enqueued, performed, put, raising

NAMES = [name for name, value in vars(signals).items() if isinstance(value, Signal)]
OF_ONE = "started succeeded retried snoozed failed expired released stale".split()


@pytest.fixture
def told(database) -> Iterator[list[tuple[str, dict[str, Any]]]]:
    """What was announced, by name, and the status that the database had then."""
    told: list[tuple[str, dict[str, Any]]] = []
    receivers = {}

    def receiver(name: str):
        def hear(sender, signal, **given):
            if name in OF_ONE:
                rows = store_for(database).database.attempts.filter(pk=given["claim"].id)
                given["state"] = rows.get().state
            told.append((name, given))

        return hear

    for name in NAMES:
        receivers[name] = receiver(name)
        getattr(signals, name).connect(receivers[name])
    yield told
    for name, hear in receivers.items():
        getattr(signals, name).disconnect(hear)


def names(told: list[tuple[str, dict[str, Any]]]) -> list[str]:
    """What was announced, beside the comings and goings of workers, and ends: see `test_ended`."""
    return [name for name, _ in told if not name.startswith("worker_") and name != "ended"]


@pytest.mark.parametrize("target", [effects.act, effects.act_atomically])
@pytest.mark.parametrize(
    "case",
    [
        (None, "succeeded", "succeeded"),
        (ValueError("once more"), "retried", "scheduled"),
        (Snooze(60), "snoozed", "scheduled"),
        (Fail("no"), "failed", "failed"),
        (Expire("no"), "expired", "expired"),
    ],
)
def test_each_outcome_is_announced_once_it_is_recorded(database, acting, told, target, case):
    raised, name, state = case
    if raised is not None:
        acting(raising(raised))
    attempt = performed(database, target)
    assert names(told) == ["enqueued", "started", name]
    given = dict(told)
    assert given["enqueued"]["attempt"].pk == attempt.pk
    assert given["started"]["state"] == "running"
    assert given[name]["state"] == state
    assert given[name]["claim"].id == attempt.pk
    assert type(given[name]["outcome"]) in SIGNAL_OF
    assert given[name]["exception"] is raised


def test_what_is_claimed_too_late_is_expired_and_not_started(database, told):
    attempt = enqueued(database, effects.act)
    put(attempt, expires_at=seconds_from_now(-1))
    drain(database)
    assert names(told) == ["enqueued", "expired"]
    given = dict(told)["expired"]
    assert (given["claim"].id, given["state"]) == (attempt.pk, "expired")


def test_an_outcome_that_comes_too_late_is_stale(database, acting, told):
    attempt = enqueued(database, effects.act)
    acting(lambda: put(attempt, claim_seq=7))
    drain(database)
    assert names(told) == ["enqueued", "started", "stale"]


def test_what_a_dead_worker_held_is_rescued(database, told, settings):
    settings.ASYNC_ATTEMPTS = settings.ASYNC_ATTEMPTS | {"LEASE": 1}
    store = store_for(database)
    first, last = enqueued(database, effects.act), enqueued(database, effects.act)
    dead = registered(store)
    for attempt, crashes in ((first, 0), (last, 2)):
        put(attempt, claimed_by=dead.pk, num_crashes=crashes, started_at=DatabaseNow())
    let_lease_run_out(store, dead)
    drain(database)
    assert names(told) == ["enqueued", "enqueued", "rescued", "started", "succeeded"]
    rescued = dict(told)["rescued"]
    assert rescued["worker_id"] == dead.pk
    assert rescued["attempt_ids"] == [first.pk, last.pk]
    assert rescued["failed_ids"] == [last.pk]


def test_what_nobody_hears_is_not_sent(database, acting, monkeypatch):
    acting(raising(ValueError()))
    # The log listens to these.
    silent = set(NAMES) - {"retried", "failed", "stale", "rescued", "overdue"}
    silent -= {"worker_started", "worker_stopped"}

    def send(*args, **kwargs):
        raise AssertionError

    for name in silent:
        for way in ("send", "send_robust"):
            monkeypatch.setattr(getattr(signals, name), way, send)
    assert performed(database, effects.act).status == "scheduled"
    acting(lambda: None)
    assert performed(database, effects.act).status == "succeeded"

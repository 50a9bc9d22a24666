"""No dependent is lost or freed twice, whatever comes first; and no caller holds up a finish."""

from __future__ import annotations

import pytest

from async_attempts import Attempt, call
from async_attempts.encryption import configured
from async_attempts.exceptions import AttemptsError
from async_attempts.lifecycle import Succeeded
from async_attempts.models import Dependency
from async_attempts.store import dependencies, prerequisites
from async_attempts.store.expressions import seconds_from_now
from tests.shop import flows, paced
from tests.shop.unsaved import new_attempt

from .rows import enqueued, put, registered
from .sessions import at_once

ONE_WRITER = "SQLite has one writer, who holds up everybody"
several_writers = pytest.mark.only("postgresql", "mariadb", reason=ONE_WRITER)


def dependent_on(store, *prerequisites):
    options = {"database": store.database.alias, "queue": "emails", "depends_on": prerequisites}
    return call(flows.clear_up).using(**options).enqueue()


def status(store, attempt):
    return store.database.attempts.values_list("status", flat=True).get(pk=attempt.pk)


def finish(store, worker, claims):
    assert store.outcomes.finish(worker.pk, [(claim, Succeeded()) for claim in claims]) == []


@several_writers
def test_a_caller_that_commits_later_holds_up_no_finish(store, worker, sessions):
    [prerequisite] = enqueued(store)
    caller = sessions()
    caller.begin()
    dependent = caller.do(dependent_on, store, prerequisite)
    claims = store.claims.claim(worker.pk, ["default"], 1)
    # The store's own connection waits for no lock for more than a second.
    finish(store, worker, claims)
    assert status(store, prerequisite) == "succeeded"
    caller.commit()
    assert status(store, dependent) == "pending"


def test_a_caller_that_dies_before_it_is_told_of_the_commit_is_made_up_for(
    store, worker, monkeypatch
):
    [prerequisite] = enqueued(store)
    monkeypatch.setattr(prerequisites.Prerequisites, "note_dependents", lambda *_: None)
    dependent = dependent_on(store, prerequisite)
    finish(store, worker, store.claims.claim(worker.pk, ["default"], 1))
    assert status(store, dependent) == "waiting"
    assert store.dependencies.sweep() == 1
    assert status(store, dependent) == "pending"
    assert store.dependencies.sweep() == 0


def test_a_worker_that_dies_between_finish_and_close_is_made_up_for(store, worker, monkeypatch):
    [prerequisite] = enqueued(store)
    dependent = dependent_on(store, prerequisite)
    with monkeypatch.context() as patch:
        patch.setattr(store.dependencies, "close_when_committed", lambda _ids: None)
        finish(store, worker, store.claims.claim(worker.pk, ["default"], 1))
    assert status(store, dependent) == "waiting"
    assert store.dependencies.sweep() == 1
    assert status(store, dependent) == "pending"


@several_writers
def test_what_runs_atomically_holds_up_nobody_who_depends_on_it(store, worker, sessions):
    [prerequisite] = enqueued(store)
    [claim] = store.claims.claim(worker.pk, ["default"], 1)
    atomic = sessions()
    atomic.begin()
    assert atomic.do(store.outcomes.hold, worker.pk, claim)
    dependent = dependent_on(store, prerequisite)
    atomic.do(store.outcomes.finish_within, worker.pk, [(claim, Succeeded())])
    atomic.commit()
    store.dependencies.sweep()
    assert status(store, dependent) == "pending"


def test_many_who_finish_at_once_lower_the_same_count(store):
    prerequisites = enqueued(store, 200)
    dependent = dependent_on(store, *prerequisites)

    def drain(_):
        worker = registered(store)
        while claims := store.claims.claim(worker.pk, ["default"], 10):
            finish(store, worker, claims)

    at_once(4, drain)
    store.dependencies.sweep()
    row = store.database.attempts.get(pk=dependent.pk)
    assert (row.status, row.blockers) == ("pending", 0)
    assert set(store.database.dependencies.values_list("state", flat=True)) == {"met"}


def test_an_edge_that_several_close_counts_once(store, worker):
    first, second = enqueued(store, 2)
    dependent = dependent_on(store, first, second)
    [claim] = store.claims.claim(worker.pk, ["default"], 1)
    finish(store, worker, [claim])
    at_once(4, lambda _: store.dependencies.close([claim.id]))
    row = store.database.attempts.get(pk=dependent.pk)
    assert (row.status, row.blockers) == ("waiting", 1)


def test_callers_and_finishers_at_once_leave_nobody_waiting(store):
    prerequisites = enqueued(store, 60)

    def take_part(number):
        if number % 2:
            mine = prerequisites[number // 2 :: 3]
            return [dependent_on(store, prerequisite).pk for prerequisite in mine]
        worker = registered(store)
        while claims := store.claims.claim(worker.pk, ["default"], 3):
            finish(store, worker, claims)
        return []

    dependents = [pk for mine in at_once(6, take_part) for pk in mine]
    assert len(dependents) == len(prerequisites)
    store.dependencies.sweep()
    assert store.database.attempts.filter(pk__in=dependents, status="pending").count() == len(
        dependents
    )


def test_a_retry_that_comes_before_the_close_is_waited_for(store, worker, monkeypatch):
    [prerequisite] = enqueued(store)
    dependent = dependent_on(store, prerequisite)
    with monkeypatch.context() as patch:
        patch.setattr(store.dependencies, "close_when_committed", lambda _ids: None)
        prerequisite.fail()
    prerequisite.retry()
    store.dependencies.sweep()
    store.dependencies.close([prerequisite.pk])
    assert status(store, dependent) == "waiting"
    finish(store, worker, store.claims.claim(worker.pk, ["default"], 1))
    assert status(store, dependent) == "pending"


def test_a_batch_is_closed_in_bounded_transactions(store, monkeypatch):
    monkeypatch.setattr(dependencies, "BATCH", 7)
    [prerequisite] = enqueued(store)
    dependents = [dependent_on(store, prerequisite) for _ in range(20)]
    prerequisite.expire("over")
    assert {status(store, dependent) for dependent in dependents} == {"expired"}
    assert store.database.dependencies.filter(state=Dependency.State.OPEN).count() == 0


def test_a_chain_is_expired_to_its_end(store):
    flow = call(flows.fetch, 0).using(database=store.database.alias)
    chain = flow.then(flows.increase)
    for _ in range(1200):
        chain = chain.then(flows.increase)
    last = chain.enqueue()
    first = store.database.attempts.earliest("id")
    first.fail("no")
    assert status(store, last) == "expired"
    assert store.database.attempts.filter(status="waiting").count() == 0
    assert (
        store.database.attempts.get(pk=last.pk).reason
        == f"a prerequisite did not succeed: {first.pk}"
    )


def test_an_older_prerequisite_is_told(store):
    [prerequisite] = enqueued(store)
    dependent_on(store, prerequisite)
    assert store.database.attempts.get(pk=prerequisite.pk).has_dependents


def test_what_was_put_off_waits_for_its_time_when_it_is_free(store, worker):
    [prerequisite] = enqueued(store)
    dependent = dependent_on(store, prerequisite)
    put(store, dependent, scheduled_at=seconds_from_now(3600))
    finish(store, worker, store.claims.claim(worker.pk, ["default"], 1))
    assert status(store, dependent) == "scheduled"


@several_writers
def test_a_caller_that_adds_another_dependent_holds_up_no_close(store, worker, sessions):
    [prerequisite] = enqueued(store)
    first = dependent_on(store, prerequisite)
    caller = sessions()
    caller.begin()
    second = caller.do(dependent_on, store, prerequisite)
    finish(store, worker, store.claims.claim(worker.pk, ["default"], 1))
    assert (status(store, prerequisite), status(store, first)) == ("succeeded", "pending")
    caller.commit()
    store.dependencies.sweep()
    assert status(store, second) == "pending"


@several_writers
def test_a_retry_that_is_not_committed_yet_is_not_missed_by_a_close(store, worker, sessions):
    failed, other = enqueued(store, 2)
    dependent = dependent_on(store, failed, other)
    failed.fail()
    assert status(store, dependent) == "expired"
    person = sessions()
    person.begin()
    person.do(failed.retry)
    finish(store, worker, store.claims.claim(worker.pk, ["default"], 1))
    person.commit()
    store.dependencies.sweep()
    row = store.database.attempts.get(pk=dependent.pk)
    assert (row.status, row.blockers) == ("waiting", 1)
    finish(store, worker, store.claims.claim(worker.pk, ["default"], 1))
    assert status(store, dependent) == "pending"


class NoKeys:
    """A cipher whose keys can't be had just now."""

    def encrypt(self, plaintext: bytes, context: object) -> bytes:
        raise RuntimeError("no keys")


def no_keys(store, monkeypatch, settings):
    monkeypatch.setattr(configured, "cipher", NoKeys)
    return []


def no_room(store, monkeypatch, settings):
    enqueued(store)
    full = {"default": {"max_pending": 1}}
    settings.ASYNC_ATTEMPTS = {**settings.ASYNC_ATTEMPTS, "QUEUES": full}
    return []


def other_arguments(store, monkeypatch, settings):
    return [new_attempt(target=flows.fetch, method_args=[object()])]


def a_debounced_row(store, monkeypatch, settings):
    return [new_attempt(target=paced.reindex, method_args=[1])]


@pytest.mark.parametrize("fault", [no_keys, no_room, other_arguments, a_debounced_row])
def test_rows_that_could_not_be_written_can_be_when_the_fault_is_mended(
    store, monkeypatch, settings, fault
):
    first = new_attempt(target=flows.clear_up)
    rows = [first, new_attempt(target=flows.clear_up, depends_on=[first])]
    objects = Attempt.objects.using(store.database.alias)
    with monkeypatch.context() as patch:
        others = fault(store, patch, settings)
        with pytest.raises((RuntimeError, AttemptsError)):
            objects.bulk_create([*rows, *others])
    settings.ASYNC_ATTEMPTS = {**settings.ASYNC_ATTEMPTS, "QUEUES": {"default": {}}}
    objects.bulk_create(rows)
    assert [status(store, row) for row in rows] == ["pending", "waiting"]

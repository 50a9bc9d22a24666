"""Whoever passes over what another transaction locks comes back to it, and waits for nobody."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from async_attempts import call
from async_attempts.lifecycle import Succeeded
from async_attempts.models import Attempt, Dependency
from async_attempts.store import dependencies, revisits
from async_attempts.store.revisits import Revisits, What
from tests.shop import flows

from .rows import enqueued, registered

several_writers = pytest.mark.only(
    "postgresql", "mariadb", reason="SQLite has one writer, who holds up everybody"
)


@pytest.fixture
def loop(store):
    """This thread is a worker's loop."""
    store.database.revisits.begin()
    yield
    store.database.revisits.end()


@pytest.fixture
def pauses(monkeypatch):
    """What is done while a caller pauses between its tries."""
    deeds: list[Callable[[], object]] = []

    def sleep(seconds):
        assert seconds <= max(revisits.QUICK)
        if deeds:
            deeds.pop(0)()

    clock = SimpleNamespace(sleep=sleep, monotonic=time.monotonic)
    monkeypatch.setattr(revisits, "time", clock)
    return deeds


def dependent_on(store, *prerequisites, target=flows.clear_up):
    options = {"database": store.database.alias, "queue": "emails", "depends_on": prerequisites}
    return call(target).using(**options).enqueue()


def finish_next(store, worker):
    [claim] = store.claims.claim(worker.pk, ["default"], 1)
    assert store.outcomes.finish(worker.pk, [(claim, Succeeded())]) == []


def lock(session, store, attempt):
    session.begin()
    rows = store.database.attempts.filter(pk=attempt.pk).select_for_update()
    session.do(lambda: list(rows.values_list("pk")))


def state(store, attempt):
    return store.database.attempts.values_list("status", "blockers").get(pk=attempt.pk)


def revisited(store):
    """Come back as a loop does, until there is nothing left to come back to."""
    found = 0
    deadline = time.monotonic() + revisits.PATIENCE / 2
    while store.database.revisits:
        assert time.monotonic() < deadline
        time.sleep(store.database.revisits.seconds or 0.0)
        found += store.revisit()
    return found


@several_writers
def test_two_closers_of_one_group_leave_nobody_waiting(store, worker, sessions, loop):
    members = enqueued(store, 2)
    follower = dependent_on(store, *members)
    other, session = registered(store), sessions()
    # It has closed its edge, and not committed yet.
    first = session.start_and_stop_after(("UPDATE", "SET", "blockers"), finish_next, store, other)
    finish_next(store, worker)
    assert state(store, follower) == ("waiting", 2)
    session.go_on()
    first.result()
    before = store.dependencies.times_closed
    assert (revisited(store), state(store, follower)) == (1, ("pending", 0))
    assert store.dependencies.times_closed == before + 1


@several_writers
def test_a_caller_that_finds_a_dependent_locked_tries_again_at_once(
    store, worker, sessions, pauses
):
    member, other = enqueued(store, 2)
    follower = dependent_on(store, member)
    session = sessions()
    lock(session, store, follower)
    pauses += [lambda: None, session.commit]
    member.expire()
    assert state(store, follower) == ("expired", 0)
    assert not pauses
    assert (other.status, bool(store.database.revisits)) == ("pending", False)


@several_writers
def test_a_caller_gives_up_soon_and_a_sweep_finds_what_it_left(store, sessions):
    [member] = enqueued(store)
    follower = dependent_on(store, member)
    session = sessions()
    lock(session, store, follower)
    member.expire()
    assert state(store, follower) == ("waiting", 1)
    session.commit()
    assert store.dependencies.sweep() == 1
    assert state(store, follower) == ("expired", 0)


@several_writers
def test_a_dependent_that_is_locked_keeps_back_no_other(store, worker, sessions, loop, monkeypatch):
    monkeypatch.setattr(dependencies, "BATCH", 7)
    [member] = enqueued(store)
    followers = [dependent_on(store, member) for _ in range(20)]
    session = sessions()
    lock(session, store, followers[3])
    finish_next(store, worker)
    waiting = [one for one in followers if state(store, one)[0] == "waiting"]
    assert waiting == [followers[3]]
    session.commit()
    assert revisited(store) == 1
    assert state(store, followers[3]) == ("pending", 0)


@several_writers
def test_a_chain_that_expires_goes_on_where_a_link_was_locked(store, sessions, loop):
    first, *others = reversed(
        list(_chain(store, call(flows.fetch, 0).using(database=store.database.alias), 5))
    )
    session = sessions()
    lock(session, store, others[2])
    first.fail("no")
    assert [state(store, one)[0] for one in others] == [
        "expired", "expired", "waiting", "waiting", "waiting",
    ]  # fmt: skip
    session.commit()
    revisited(store)
    assert {state(store, one) for one in others} == {("expired", 0)}
    assert {store.database.attempts.get(pk=one.pk).reason for one in others} == {
        f"a prerequisite did not succeed: {first.pk}"
    }


def _chain(store, flow, length):
    for _ in range(length):
        flow = flow.then(flows.increase)
    flow.enqueue()
    yield from store.database.attempts.order_by("-pk")


@several_writers
def test_a_prerequisite_that_is_retried_in_an_open_transaction_is_not_waited_for(
    store, worker, sessions, loop, monkeypatch
):
    failed, other = enqueued(store, 2)
    follower = dependent_on(store, failed, other)
    with monkeypatch.context() as patch:
        patch.setattr(store.dependencies, "close_when_committed", lambda _ids: None)
        failed.fail()
    person = sessions()
    person.begin()
    person.do(failed.retry)
    # The store's own connection waits for no lock for more than a second.
    assert store.dependencies.close([failed.pk]) == 0
    person.rollback()
    assert revisited(store) == 1
    assert state(store, follower) == ("expired", 0)


@several_writers
@pytest.mark.usefixtures("worker")
def test_a_retry_that_was_passed_over_is_counted_once(store, worker, sessions, loop):
    failed, other = enqueued(store, 2)
    follower = dependent_on(store, failed, other)
    failed.fail()
    person = sessions()
    person.begin()
    person.do(failed.retry)
    finish_next(store, worker)
    person.commit()
    assert (revisited(store), state(store, follower)) == (1, ("waiting", 1))
    finish_next(store, worker)
    assert state(store, follower) == ("pending", 0)


@several_writers
def test_an_edge_that_is_closed_behind_the_back_of_another_closer_counts_once(
    store, worker, sessions, loop
):
    gone, other = enqueued(store, 2)
    follower = dependent_on(store, (gone, "any"), other)
    # Nothing is left of it that the first closer could lock.
    store.database.attempts.filter(pk=gone.pk)._raw_delete(store.database.alias)
    slow = sessions()
    reads = ("SELECT", Dependency._meta.db_table, "LIMIT")
    closed = slow.start_and_stop_after(reads, store.dependencies.close, [gone.pk])
    assert store.dependencies.close([gone.pk]) == 1
    slow.go_on()
    assert (closed.result(), state(store, follower)) == (0, ("waiting", 1))


@several_writers
def test_a_finish_at_the_same_moment_as_the_commit_of_a_dependent_leaves_nobody_waiting(
    store, worker, sessions, pauses
):
    """The caller finds the prerequisite locked, and the finish sees no dependents."""
    [member] = enqueued(store)
    [claim] = store.claims.claim(worker.pk, ["default"], 1)
    session = sessions()
    session.begin()
    session.do(store.outcomes.finish_within, worker.pk, [(claim, Succeeded())])
    pauses += [lambda: None, session.commit]
    follower = dependent_on(store, member)
    assert state(store, follower) == ("pending", 0)
    assert not pauses


@pytest.mark.only("postgresql", reason="the others have no such lock")
def test_a_row_that_refers_to_a_dependent_does_not_lock_it(store, worker, sessions, loop):
    [member] = enqueued(store)
    follower = dependent_on(store, member)
    project = sessions()
    project.begin()
    # As the check of a foreign key does.
    project.execute(f"SELECT 1 FROM {Attempt._meta.db_table} WHERE status <> '' FOR KEY SHARE")
    finish_next(store, worker)
    assert state(store, follower) == ("pending", 0)


def test_visits_become_rarer_and_end(monkeypatch):
    moment = 100.0
    monkeypatch.setattr(revisits, "time", SimpleNamespace(monotonic=lambda: moment))
    mine = Revisits()
    mine.add(What.EDGES, [1])
    assert (bool(mine), mine.seconds) == (False, None)
    mine.begin()
    mine.add(What.EDGES, [1])
    began, pauses = moment, []
    while (pause := mine.seconds) is not None:
        pauses.append(pause)
        moment += pause
        assert mine.visit(What.SLOTS, len) == 0

        def again(keys):
            mine.add(What.EDGES, keys)
            return len(keys)

        assert mine.visit(What.EDGES, again) == 1
    assert pauses[0] <= revisits.FIRST
    assert max(pauses) <= revisits.LONGEST
    assert 10 < len(pauses) < 40
    assert revisits.PATIENCE <= moment - began <= revisits.PATIENCE + 2 * revisits.LONGEST
    assert not mine


def test_where_no_loop_is_left_nobody_comes_back():
    mine = Revisits()
    mine.begin()
    mine.add(What.SLOTS, ["k"])
    assert mine.has(What.SLOTS, "k")
    mine.end()
    assert not mine.has(What.SLOTS, "k")
    mine.begin()
    assert not mine


def test_what_fails_is_left_to_the_sweep():
    mine = Revisits()
    mine.begin()
    mine.add(What.EDGES, [1])
    mine.end()

    def fails(_):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        mine.visit(What.EDGES, fails)
    assert not mine

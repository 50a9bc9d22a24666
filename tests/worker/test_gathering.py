"""Waiting for several attempts: for all, for the first, or until they are settled."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from asgiref.sync import async_to_sync
from django.db import connections, transaction
from django.test.utils import CaptureQueriesContext

from async_attempts import (
    Attempt,
    AttemptFailed,
    AttemptGone,
    InvalidOption,
    ResultNotKept,
    WaitingInTransaction,
    agather,
    call,
    gather,
)
from tests.shop import flows
from tests.worker.helpers.attempts import drain, enqueued


def gather_async(*attempts, **options):
    return async_to_sync(agather)(*attempts, **options)


both = pytest.mark.parametrize("gathered", [gather, gather_async])


@pytest.fixture
def performing(database, beside):
    """Begin to perform what is there."""
    return lambda: beside.drain(database)


@pytest.fixture
def fetched(database):
    """Attempts that return what they are given."""

    def enqueue(*values, **options):
        given = {"database": database, "keep_result": True, **options}
        return [call(flows.fetch, value).using(**given).enqueue() for value in values]

    return enqueue


@pytest.fixture
def refused(database):
    """An attempt that fails."""
    return enqueued(database, flows.refuse)


@pytest.fixture
def later(fetched):
    """An attempt that nobody performs meanwhile."""
    return fetched("later", scheduled_at=timedelta(days=1))[0]


@both
def test_all_results_come_in_the_order_of_the_attempts(fetched, performing, gathered):
    one, two, three = fetched(1, 2, 3)
    performing()
    assert gathered(three, one, two, timeout=30) == [3, 1, 2]


@both
def test_one_that_fails_is_raised_while_others_go_on(fetched, refused, later, performing, gathered):
    (attempt,) = fetched(1)
    performing()
    with pytest.raises(AttemptFailed) as raised:
        gathered(attempt, later, refused, timeout=30)
    assert raised.value.ending.attempt_id == refused.pk


@both
def test_the_first_that_succeeds_is_enough(fetched, refused, later, performing, gathered):
    (attempt,) = fetched("enough")
    performing()
    assert gathered(refused, later, attempt, until="first", timeout=30) == "enough"


@both
def test_when_none_can_be_the_first_any_more_the_error_is_raised(refused, performing, gathered):
    performing()
    with pytest.raises(AttemptFailed):
        gathered(refused, refused, until="first", timeout=30)


@both
def test_a_result_that_was_not_kept_is_no_none_among_others(fetched, refused, performing, gathered):
    (kept, none), (unkept,) = fetched(1, None), fetched(3, keep_result=False)
    performing()
    assert gathered(kept, none, timeout=30) == [1, None]
    endings = gathered(unkept, none, until="settled", timeout=30)
    assert [ending.succeeded for ending in endings] == [True, True]
    assert [ending.stored_result for ending in endings] == [None, None]
    for until, others in (("all", (kept,)), ("first", (refused,))):
        with pytest.raises(ResultNotKept, match=f"{unkept.pk}.*keep_result=True"):
            gathered(*others, unkept, until=until, timeout=30)
    with pytest.raises(ResultNotKept):
        assert endings[0].result
    with pytest.raises(AttemptFailed):
        gathered(unkept, refused, timeout=30)


@both
def test_what_is_settled_raises_nothing(fetched, refused, performing, gathered):
    (gone,) = fetched(1)
    Attempt.objects.using(gone._state.db).filter(pk=gone.pk)._raw_delete(gone._state.db)
    (attempt,) = fetched(2)
    performing()
    endings = gathered(refused, attempt, gone, until="settled", timeout=30)
    assert [ending.attempt_id for ending in endings] == [refused.pk, attempt.pk, gone.pk]
    assert [ending.status for ending in endings] == ["failed", "succeeded", "gone"]
    assert [ending.result for ending in endings] == [None, 2, None]
    assert endings[0].message == "the stove is cold"
    with pytest.raises(AttemptGone):
        gathered(gone, attempt, timeout=0)


@both
def test_a_timeout_tells_how_many_are_left(fetched, later, database, gathered):
    attempts = fetched(1, 2)
    drain(database)
    with pytest.raises(TimeoutError, match=f"1 of 3 attempts haven't ended.*{later.pk} is sched"):
        gathered(*attempts, later, timeout=0.01)


def test_all_are_asked_for_by_one_statement_and_those_that_ended_no_more(fetched, later, database):
    attempts = fetched(*range(20))
    drain(database)
    gather(*attempts, timeout=0)
    with CaptureQueriesContext(connections[database]) as asked, pytest.raises(TimeoutError):
        gather(*attempts, later, until="settled", timeout=0.5)
    first, *others = [query["sql"] for query in asked]
    assert all(
        str(attempt.pk).replace("-", "")[:8] in first.replace("-", "") for attempt in attempts
    )
    assert others
    assert not any(attempts[0].pk.hex in sql.replace("-", "") for sql in others)


def test_nothing_is_looked_at_more_and_more_often(later, database):
    with CaptureQueriesContext(connections[database]) as asked, pytest.raises(TimeoutError):
        later.result(1.2)
    assert 5 < len(asked) < 18


def test_no_attempts_at_all_are_settled(database):
    assert gather() == gather(until="settled") == []
    with pytest.raises(InvalidOption, match="none can be the first"):
        gather(until="first")


@pytest.mark.parametrize("wrong", [5, "id", [], None])
def test_what_is_no_attempt_is_refused(wrong):
    with pytest.raises(InvalidOption, match="Only attempts can be waited for"):
        gather(wrong)


def test_another_until_is_refused(fetched):
    with pytest.raises(InvalidOption, match="until: must be one of all, first, settled"):
        gather(*fetched(1), until="some")  # type: ignore[arg-type]


@pytest.mark.django_db(transaction=True, databases=["default", "postgresql"])
def test_attempts_may_be_of_several_databases(beside):
    def on(alias):
        return call(flows.fetch, alias).using(database=alias, keep_result=True).enqueue()

    attempts = [on("default"), on("postgresql")]
    beside.drain("default")
    time.sleep(0.05)
    beside.drain("postgresql")
    assert gather(*attempts, timeout=30) == ["default", "postgresql"]
    with (
        transaction.atomic("postgresql"),
        pytest.raises(WaitingInTransaction, match="'postgresql'"),
    ):
        gather(*attempts, timeout=30)


def test_the_same_attempt_may_be_given_twice(fetched, database):
    (attempt,) = fetched(1)
    drain(database)
    assert gather(attempt, attempt, timeout=0) == [1, 1]

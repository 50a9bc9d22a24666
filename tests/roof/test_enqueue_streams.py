"""`enqueue_many(…, returning=False)`: any number of calls, all or none, held part by part."""

from __future__ import annotations

import tracemalloc

import pytest
from django.db import transaction

from async_attempts import Attempt, InvalidOption, WrongTransaction, call, enqueue_many
from async_attempts.calls import bulk
from tests.shop import clients


def calls(database, number, **options):
    return (call(clients.greet, n).using(database=database, **options) for n in range(number))


class To:
    """A router that puts attempts into one database, so that calls need no option for it."""

    def __init__(self, database):
        self.database = database

    def db_for_write(self, model, **hints):
        return self.database


def everything(database):
    return Attempt.objects.using(database)


AS_EVER = bulk.CALLS_AT_A_TIME


@pytest.fixture(autouse=True)
def _a_few_at_a_time(monkeypatch):
    monkeypatch.setattr(bulk, "CALLS_AT_A_TIME", 100)


def test_a_generators_calls_are_written_and_counted(database):
    assert enqueue_many(calls(database, 250), returning=False) == 250
    rows = everything(database).order_by("id")
    assert [row.method_args for row in rows] == [[n] for n in range(250)]
    assert {row.state for row in rows} == {"pending"}


def test_nothing_is_nothing(database):
    assert enqueue_many([], returning=False) == 0


@pytest.mark.parametrize("options", [{}, {"priority": 5}], ids=["alike", "with options"])
def test_when_the_generator_raises_none_is_there(database, options):
    def broken():
        yield from calls(database, 250, **options)
        raise LookupError

    with pytest.raises(LookupError):
        enqueue_many(broken(), returning=False)
    assert not everything(database).exists()


def test_what_can_not_be_enqueued_is_named_by_its_place(database):
    def with_an_odd_one():
        yield from calls(database, 150)
        yield clients.greet

    with pytest.raises(InvalidOption, match=r"calls\[150\]: function"):
        enqueue_many(with_an_odd_one(), returning=False)
    assert not everything(database).exists()


def test_they_belong_to_the_callers_transaction(database):
    with transaction.atomic(database):
        assert enqueue_many(calls(database, 150), returning=False) == 150
        transaction.set_rollback(True, database)
    assert not everything(database).exists()


def test_a_callers_transaction_goes_on_after_an_error(database):
    def broken():
        yield from calls(database, 150)
        raise LookupError

    with transaction.atomic(database):
        kept = call(clients.greet, 1).using(database=database).enqueue()
        with pytest.raises(LookupError):
            enqueue_many(broken(), returning=False)
    assert [row.pk for row in everything(database)] == [kept.pk]


def test_only_the_new_ones_are_counted(database):
    def with_tokens(number):
        for n in range(number):
            yield call(clients.greet, n).using(database=database, idempotence_token=f"token {n}")

    assert enqueue_many(with_tokens(120), returning=False) == 120
    assert enqueue_many(with_tokens(150), returning=False) == 30
    assert everything(database).count() == 150


def test_debounced_calls_of_one_key_are_one_new_row(database):
    paced = calls(database, 150, debounce=3600)
    assert enqueue_many(paced, returning=False) == 1 == everything(database).count()


@pytest.mark.django_db(transaction=True, databases=["default", "postgresql"])
def test_all_go_to_one_database():
    mixed = [*calls("postgresql", 120), *calls("default", 1)]
    with pytest.raises(InvalidOption, match="goes to 'default', and the first"):
        enqueue_many(mixed, returning=False)
    assert not everything("postgresql").exists()


@pytest.mark.django_db(transaction=True, databases=["default", "postgresql"])
def test_another_databases_transaction_is_none():
    with transaction.atomic("default"), pytest.raises(WrongTransaction):
        enqueue_many(calls("postgresql", 1), returning=False)
    with transaction.atomic("default"):
        permitted = calls("postgresql", 120, allow_autocommit=True)
        assert enqueue_many(permitted, returning=False) == 120


@pytest.mark.slow
@pytest.mark.only("postgresql", reason="what is held is the same everywhere; it is the quickest")
def test_a_hundred_thousand_take_no_more_memory_than_a_part(database, settings, monkeypatch):
    monkeypatch.setattr(bulk, "CALLS_AT_A_TIME", AS_EVER)
    # What is made once, such as the statements, isn't counted.
    enqueue_many(calls(database, 1_000), returning=False)
    settings.DATABASE_ROUTERS = [To(database)]
    alike = (call(clients.greet, n) for n in range(100_000))
    tracemalloc.start()
    try:
        assert enqueue_many(alike, returning=False) == 100_000
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4_000_000
    assert everything(database).count() == 101_000

"""A transaction that can't be committed is a recorded failure, never an attempt held for ever."""

from __future__ import annotations

import pytest
from django.db import DatabaseError, IntegrityError, connections, transaction

from tests.shop import effects
from tests.shop.models import Ledger, Order
from tests.worker.helpers.attempts import drain, enqueued, failures, performed, stored


@pytest.fixture
def require_failure(database, acting):
    """Performs an action atomically, and expects a failure of this class and nothing written."""

    def require_failure(action, error_class):
        acting(action)
        attempt = enqueued(database, effects.act_atomically)
        neighbour = enqueued(database, effects.record)
        drain(database)
        assert (stored(attempt).state, stored(attempt).num_attempts) == ("scheduled", 1)
        assert stored(neighbour).status == "succeeded"
        (failure,) = failures(attempt)
        assert failure.error_class.endswith(error_class)
        assert not Ledger.objects.using(database).exists()
        assert not Order.objects.using(database).exists()
        return failure

    return require_failure


def write_twice(database):
    """Breaks the uniqueness of the primary key."""
    effects.write_ledger(database)
    Ledger.objects.using(database).create(
        pk=Ledger.objects.using(database).get().pk,
        attempt_id=Ledger.objects.using(database).get().attempt_id,
    )


def test_a_swallowed_database_error(database, require_failure):
    def swallow() -> None:
        with pytest.raises(IntegrityError):
            write_twice(database)

    failure = require_failure(swallow, "BrokenTransaction")
    assert "swallowed IntegrityError" in failure.message
    assert "atomic()" in failure.message


def test_a_swallowed_error_in_sql(database, require_failure):
    def swallow() -> None:
        effects.write_ledger(database)
        with connections[database].cursor() as cursor, pytest.raises(DatabaseError):
            cursor.execute("SELECT no_such_column FROM no_such_table")

    require_failure(swallow, "BrokenTransaction")


def test_a_block_marked_for_rollback(database, require_failure):
    def mark() -> None:
        effects.write_ledger(database)
        transaction.set_rollback(True, using=database)

    require_failure(mark, "BrokenTransaction")


def test_a_constraint_that_is_checked_at_the_commit(database, require_failure):
    # MariaDB has no deferred constraints: there the target itself raises.
    def refer_to_nobody() -> None:
        Order.objects.using(database).create(number=1, customer_id=404)

    require_failure(refer_to_nobody, "IntegrityError")


def test_a_connection_that_the_target_closed(database, require_failure):
    def close() -> None:
        effects.write_ledger(database)
        connections[database].close()

    require_failure(close, "BrokenTransaction")


def test_an_error_caught_around_an_inner_block_breaks_nothing(database, acting):
    def catch() -> None:
        with pytest.raises(IntegrityError), transaction.atomic(database):
            write_twice(database)
        effects.write_ledger(database)

    acting(catch)
    assert performed(database, effects.act_atomically).status == "succeeded"
    assert Ledger.objects.using(database).count() == 1


@pytest.mark.parametrize("target", [effects.act, effects.act_atomically])
def test_a_block_that_the_target_left_open(database, acting, target):
    def leave_open() -> None:
        transaction.atomic(database).__enter__()
        effects.write_ledger(database)

    acting(leave_open)
    attempt = enqueued(database, target)
    neighbour = enqueued(database, effects.record)
    drain(database)
    assert stored(neighbour).status == "succeeded"
    assert stored(attempt).state == "scheduled"
    assert not Ledger.objects.using(database).exists()


def test_a_leased_target_that_leaves_autocommit_off_disturbs_no_other(database, acting):
    acting(lambda: connections[database].set_autocommit(False))
    enqueued(database, effects.act)
    neighbour = enqueued(database, effects.write_row, database)
    drain(database)
    assert stored(neighbour).status == "succeeded"
    assert Ledger.objects.using(database).count() == 1

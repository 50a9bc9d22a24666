"""A subject's deletion beside workers: it neither waits for them nor holds them up."""

from __future__ import annotations

import pytest

from async_attempts import call
from tests.shop.trash import BinnedOrder

from .rows import row


@pytest.fixture
def reminder(store):
    """An attempt about an order, which is there with it."""
    order = BinnedOrder.objects.using(store.database.alias).create(number=1)
    return call(order.remind).using(database=store.database.alias).enqueue()


def delete(store, reminder):
    BinnedOrder.objects.using(store.database.alias).filter(pk=reminder.target_pk).delete()


@pytest.mark.only("postgresql", "mariadb", reason="SQLite has one writer at a time")
def test_a_worker_passes_over_what_a_deletion_has_expired(store, worker, reminder, sessions):
    session = sessions()
    session.begin()
    session.do(delete, store, reminder)
    assert store.claims.claim(worker.pk, ["default"], 1) == []
    session.commit()
    assert row(store, reminder).state == "expired"


@pytest.mark.only("postgresql", "mariadb", reason="SQLite has one writer at a time")
def test_after_a_rollback_a_worker_claims_it(store, worker, reminder, sessions):
    session = sessions()
    session.begin()
    session.do(delete, store, reminder)
    session.rollback()
    assert [claim.id for claim in store.claims.claim(worker.pk, ["default"], 1)] == [reminder.pk]


@pytest.mark.only("postgresql", "mariadb", reason="SQLite has one writer at a time")
def test_a_deletion_does_not_wait_for_who_holds_the_attempt(store, reminder, sessions):
    session = sessions()
    session.begin()
    held = store.database.attempts.select_for_update().filter(pk=reminder.pk)
    session.do(lambda: list(held))
    delete(store, reminder)
    session.commit()
    assert not BinnedOrder.objects.using(store.database.alias).exists()
    assert row(store, reminder).state == "pending"


def test_what_is_claimed_is_asked_to_stop(store, worker, reminder):
    assert len(store.claims.claim(worker.pk, ["default"], 1)) == 1
    delete(store, reminder)
    found = row(store, reminder)
    assert (found.state, found.cancel_requested) == ("running", True)

"""`on_subject_deleted="expire"`: attempts end with the object that they are about."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from django.db import connections, transaction
from django.db.models.signals import post_delete
from django.test.utils import CaptureQueriesContext, isolate_apps

from async_attempts import Attempt, attemptable, call
from async_attempts.exceptions import InvalidOption
from async_attempts.models import DatabaseNow
from async_attempts.models.subject import labels_of
from async_attempts.subjects import SubjectDeletions, deletions
from async_attempts.targets import decorator
from tests.roof.admin_pages import OneDatabase
from tests.shop import clients, trash
from tests.shop.models import Customer, Ledger, Order
from tests.shop.trash import BinnedOrder, ExpressOrder


@pytest.fixture
def at(database: str, settings: Any) -> str:
    settings.DATABASE_ROUTERS = [OneDatabase(database)]
    return database


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """A function that says so, while the test runs."""
    monkeypatch.setattr(decorator, "_policies", {**decorator._policies})
    monkeypatch.setattr(deletions, "owners", {*deletions.owners})
    yield attemptable(on_subject_deleted="expire")(trash.index)
    monkeypatch.undo()
    del trash.index.__dict__[decorator.MARK]
    deletions.listen()


def order(kind: Any = BinnedOrder) -> Any:
    return kind.objects.create(number=1)


def now(attempt: Attempt) -> Any:
    return Attempt.objects.get(pk=attempt.pk)


def test_attempts_expire_with_their_object_in_its_transaction(at: str):
    this, other = order(), order()
    mine, theirs = call(this.remind).enqueue(), call(other.remind).enqueue()
    reason = f"its subject shop.BinnedOrder {this.pk} was deleted"
    with transaction.atomic(at):
        this.delete()
        assert now(mine).state == "expired"
    assert (now(mine).state, now(mine).reason) == ("expired", reason)
    assert now(mine).completed_at is not None
    assert now(theirs).state == "pending"


def test_a_deletion_that_is_rolled_back_ends_nothing(at: str):
    this = order()
    attempt = call(this.remind).enqueue()
    with transaction.atomic(at):
        BinnedOrder.objects.filter(pk=this.pk).delete()
        transaction.set_rollback(True, at)
    assert now(attempt).state == "pending"


@pytest.mark.usefixtures("at")
def test_each_state_is_left_as_it_is_expired_or_asked_to_stop():
    this = order()
    states: dict[str, dict[str, Any]] = {
        "scheduled": {"status": "scheduled"},
        "waiting": {"status": "waiting", "blockers": 1},
        "running": {"claimed_by": uuid4()},
        "succeeded": {"status": "succeeded", "completed_at": DatabaseNow()},
        "failed": {"status": "failed", "completed_at": DatabaseNow()},
    }
    rows = {state: call(this.remind).enqueue() for state in states}
    for state, columns in states.items():
        Attempt.objects.filter(pk=rows[state].pk).update(**columns)
    this.delete()
    found = {state: now(row) for state, row in rows.items()}
    assert {state: row.state for state, row in found.items()} == {
        "scheduled": "expired",
        "waiting": "expired",
        "running": "running",
        "succeeded": "succeeded",
        "failed": "failed",
    }
    assert {state for state, row in found.items() if row.cancel_requested} == {
        "scheduled",
        "waiting",
        "running",
    }


@pytest.mark.usefixtures("at")
def test_only_targets_whose_author_says_so_end():
    this = order()
    kept = [call(this.archive).enqueue(), call(clients.greet, 1).using(subject=this).enqueue()]
    unrelated = call(this.remind).using(subject=None).enqueue()
    this.delete()
    assert {now(row).state for row in [*kept, unrelated]} == {"pending"}


@pytest.mark.parametrize("deleted_as", [Order, BinnedOrder, ExpressOrder, clients.PostedOrder])
@pytest.mark.parametrize("kind", [BinnedOrder, ExpressOrder])
@pytest.mark.usefixtures("at")
def test_an_object_is_the_same_through_every_proxy(kind: Any, deleted_as: Any):
    this = order(kind)
    attempt = call(this.remind).enqueue()
    deleted_as.objects.get(pk=this.pk).delete()
    assert now(attempt).state == "expired"


@pytest.mark.usefixtures("at")
def test_what_this_process_has_not_looked_up_is_known_by_its_model(monkeypatch: Any):
    this = order(ExpressOrder)
    attempt = call(this.remind).enqueue()
    monkeypatch.setattr("async_attempts.targets.target._targets", {})
    this.delete()
    assert now(attempt).state == "expired"


@pytest.mark.usefixtures("at")
def test_a_cascade_and_a_queryset_are_deletions_too():
    customer = Customer.objects.create(name="Ada")
    orders = [BinnedOrder.objects.create(number=n, customer=customer) for n in range(5)]
    rows = [call(one.remind).enqueue() for one in orders]
    BinnedOrder.objects.filter(number__lt=2).delete()
    assert [now(row).state for row in rows] == ["expired"] * 2 + ["pending"] * 3
    customer.delete()
    assert {now(row).state for row in rows} == {"expired"}


@pytest.mark.usefixtures("at")
def test_followers_of_what_expired_expire():
    this = order()
    first = call(this.remind).enqueue()
    after = call(clients.greet, 1).using(depends_on=[first]).enqueue()
    this.delete()
    assert now(after).state == "expired"


def test_an_object_that_nothing_is_about_costs_one_query(at: str):
    this = order()
    with CaptureQueriesContext(connections[at]) as queries:
        this.delete()
    own = [query for query in queries if Attempt._meta.db_table in query["sql"]]
    assert len(own) == 1


def test_what_nobody_asks_for_is_deleted_as_before(at: str):
    assert not post_delete.has_listeners(Customer)
    assert not post_delete.has_listeners(Ledger)
    Ledger.objects.create(attempt_id=uuid4())
    with CaptureQueriesContext(connections[at]) as queries:
        Ledger.objects.all().delete()
    assert len([q for q in queries if "SELECT" in q["sql"] or "DELETE" in q["sql"]]) == 1


@pytest.mark.usefixtures("at")
def test_a_function_ends_with_an_object_of_any_model(index: Any):
    customer, this = Customer.objects.create(name="Ada"), order(Order)
    rows = [call(index, 1).using(subject=subject).enqueue() for subject in (customer, this)]
    alone = call(index, 1).enqueue()
    customer.delete()
    this.delete()
    assert {now(row).state for row in rows} == {"expired"}
    assert now(alone).state == "pending"
    assert not post_delete.has_listeners(Attempt)


def test_when_the_function_is_gone_nothing_is_listened_to():
    assert not post_delete.has_listeners(Customer)


@pytest.mark.usefixtures("at")
def test_a_model_that_is_defined_later_is_listened_to():
    later = SubjectDeletions()
    with isolate_apps("tests.shop") as isolated:

        class LateOrder(trash.Reminding):
            class Meta:
                app_label = "shop"
                apps = isolated

    later.owners = {"tests.shop.trash.Reminding"}
    later._on_model(LateOrder)
    assert LateOrder not in later.senders
    try:
        later.listen(LateOrder)
        assert later.senders >= {LateOrder, Order}
        assert Customer not in later.senders
    finally:
        later.owners = set()
        later.listen()
    assert not post_delete.has_listeners(LateOrder)


def test_a_home_that_cannot_be_reached_fails_no_deletion(database: str, caplog: Any):
    """The test may not reach the home, unless it is this very database."""
    this = BinnedOrder.objects.using(database).create(number=1)
    attempt = call(this.remind).using(database=database).enqueue()
    this.delete()
    assert Attempt.objects.using(database).get(pk=attempt.pk).state == "expired"
    assert len(caplog.records) == (0 if database == "default" else 1)


def test_on_another_database_it_is_after_the_commit(monkeypatch: Any, database: str):
    asked: list[Any] = []
    monkeypatch.setattr("async_attempts.subjects._databases", lambda _: ["elsewhere"])
    monkeypatch.setattr("async_attempts.subjects._expire", lambda *args: asked.append(args))
    this = BinnedOrder.objects.using(database).create(number=1)
    pk = str(this.pk)
    with transaction.atomic(database):
        this.delete()
        assert not asked
    reason = f"its subject shop.BinnedOrder {pk} was deleted"
    assert asked == [("elsewhere", labels_of(Order), pk, reason)]


@pytest.mark.parametrize("choice", ["delete", True, {"shop.Order": "expire"}])
def test_anything_else_is_refused(choice: Any):
    with pytest.raises(InvalidOption, match="on_subject_deleted: must be 'keep' or 'expire'"):
        attemptable(on_subject_deleted=choice)
    with pytest.raises(InvalidOption, match="on_subject_deleted: belongs on the target's"):
        call(clients.greet, 1).using(on_subject_deleted="expire")


def test_keep_is_the_default():
    assert decorator.UNSAID.on_subject_deleted == "keep"

"""`docs/privacy.md`: its code erases what is about one person, and nothing else."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any
from uuid import uuid4

import pytest
from django.utils import timezone

import tests.shop
from async_attempts import Attempt, call
from async_attempts.models import Failure
from tests.examples.documented import ROOT, python_blocks
from tests.roof.admin_pages import OneDatabase
from tests.shop import flows, models
from tests.worker.helpers.attempts import drain, put

PAGE = ROOT / "docs" / "privacy.md"


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The names that the page's first blocks define."""
    # Of a name of its own, as targets are found by name.
    module: Any = ModuleType(f"tests.shop.page_{uuid4().hex}")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(sys.modules, "shop", tests.shop)
    monkeypatch.setitem(sys.modules, "shop.models", models)
    for block in python_blocks(PAGE)[:2]:
        exec(compile(block, str(PAGE), "exec", dont_inherit=True), vars(module))  # noqa: S102 it is ours
    return module


@pytest.fixture
def customers(database: str, settings: Any) -> list[Any]:
    """Two of them, with an attempt of each state."""
    settings.DATABASE_ROUTERS = [OneDatabase(database)]
    customers = [models.Customer.objects.create(name=name) for name in ("Ada", "Bob")]
    for customer in customers:
        call(flows.refuse).using(subject=customer).enqueue()
        call(flows.fetch, 1).using(subject=customer).enqueue()
        drain(database)
        call(flows.fetch, 1).using(subject=customer).enqueue()
        running = call(flows.fetch, 1).using(subject=customer).enqueue()
        put(running, claimed_by=uuid4(), started_at=timezone.now(), num_attempts=1, claim_seq=1)
    return customers


def test_it_erases_all_about_one_person(page, customers):
    ada, bob = customers
    page.order_statement(ada, "ada@example.com")
    assert page.erase(ada)
    assert set(Attempt.objects.values_list("subject_id", flat=True)) == {str(bob.pk)}
    assert Attempt.objects.count() == 4
    assert {failure.attempt.subject_id for failure in Failure.objects.all()} == {str(bob.pk)}
    assert Failure.objects.count() == 1


def test_what_waits_for_an_erased_attempt_expires(database, page, customers):
    first = call(flows.fetch, 1).using(subject=customers[0]).enqueue()
    follower = call(flows.clear_up).using(depends_on=[first]).enqueue()
    assert page.erase(customers[0])
    drain(database)
    follower.refresh_from_db()
    assert follower.status == "expired"

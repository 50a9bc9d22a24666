"""The documentation's Python runs, on SQLite, page by page and from top to bottom."""

from __future__ import annotations

import sys
import unittest
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from unittest import mock

import environ
import pytest
from django.conf import settings as django_settings
from django.contrib import admin
from django.test import TestCase, override_settings

import tests.shop
from async_attempts import schedules
from async_attempts.conf import settings
from async_attempts.encryption import new_recipient
from async_attempts.events.listeners import registry
from async_attempts.payload.registry import registry as types
from async_attempts.subjects import deletions
from async_attempts.targets import decorator
from tests.examples.documented import PAGES, ROOT, python_blocks
from tests.shop import clients, models

OUTBOX = "django.core.mail.backends.locmem.EmailBackend"
KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
PAGES_WITH_PYTHON = [page for page in PAGES if python_blocks(page)]


@pytest.fixture
def page_module(request, monkeypatch, tmp_path) -> Iterator[ModuleType]:
    """A module to run a page in: targets are found by name. The page's `shop` is `tests.shop`."""
    shop = ModuleType("shop.models")
    vars(shop).update(Order=clients.PostedOrder, Customer=models.Customer)
    monkeypatch.setitem(sys.modules, "shop", tests.shop)
    monkeypatch.setitem(sys.modules, "shop.models", shop)
    monkeypatch.setitem(sys.modules, "shop.clients", clients)
    monkeypatch.setattr(schedules, "_in_code", {})
    monkeypatch.setenv("ATTEMPTS_KEYS", KEY)
    monkeypatch.setenv("ATTEMPTS_RECIPIENTS", new_recipient()[1])
    (tmp_path / "keys").write_text(KEY)
    monkeypatch.setenv("ATTEMPTS_KEYS_FILE", str(tmp_path / "keys"))
    # From Django 6.1 on mail needs this; older ones don't look at it.
    monkeypatch.setattr(django_settings, "MAILERS", {"default": {"BACKEND": OUTBOX}}, raising=False)
    name = request.param.stem.lower().replace("-", "_")
    module = ModuleType(f"tests.shop.page_{name}")
    vars(module)["env"] = environ.Env()
    # Who listens on a page does so on no other.
    for kept in ("listeners", "by_event"):
        monkeypatch.setattr(registry, kept, getattr(registry, kept))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(deletions, "owners", {*deletions.owners})
    # The admins, targets and types that a page registers are registered on no other.
    by_page = (admin.site._registry, decorator._policies, types.by_type, types.by_name)
    with ExitStack() as kept_apart:
        for registered in by_page:
            kept_apart.enter_context(mock.patch.dict(registered))
        types.by_type.clear()
        types.by_name.clear()
        yield module
    monkeypatch.undo()
    # Models that a page has listened to are deleted as before on the next one.
    deletions.listen()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("page", "page_module"),
    [(page, page) for page in PAGES_WITH_PYTHON],
    ids=[str(page.relative_to(ROOT)) for page in PAGES_WITH_PYTHON],
    indirect=["page_module"],
)
def test_the_python_of_a_page_runs(page: Path, page_module: ModuleType):
    names = vars(page_module)
    for block in python_blocks(page):
        exec(compile(block, str(page), "exec", dont_inherit=True), names)  # noqa: S102 it is ours
        if given := names.pop("ASYNC_ATTEMPTS", None):
            with override_settings(ASYNC_ATTEMPTS=given):
                assert settings().QUEUES
    assert not broken_test_cases(page_module)


def broken_test_cases(module: ModuleType) -> list[str]:
    """What failed in the test cases that a page shows."""
    result = unittest.TestResult()
    for shown in list(vars(module).values()):
        if isinstance(shown, type) and issubclass(shown, TestCase) and shown is not TestCase:
            suite = unittest.defaultTestLoader.loadTestsFromTestCase(shown)
            assert suite.countTestCases()
            suite.run(result)
    return [text for _, text in result.errors + result.failures]


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 140

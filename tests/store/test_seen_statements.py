"""Logs, wrappers and patches see the INSERT of an attempt, and it fails as Django's own do."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from django.core.exceptions import SynchronousOnlyOperation
from django.db import IntegrityError, transaction
from django.db.backends.utils import CursorWrapper
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from async_attempts import call
from tests.shop import clients

from .sessions import rolled_back


@pytest.fixture
def once(database: str) -> Any:
    """Enqueues once, in the way that this kind of row takes by now."""
    call(clients.greet, 1).using(database=database).enqueue()
    return call(clients.greet, 1).using(database=database).enqueue


def in_block(database: str, work: Any) -> Any:
    with transaction.atomic(database):
        return work()


def test_a_log_of_queries_has_it(store, once):
    with (
        transaction.atomic(store.database.alias),
        CaptureQueriesContext(store.database.connection) as queries,
    ):
        once()
    assert [query["sql"][:6] for query in queries] == ["INSERT"]


def test_debug_logs_it(store, once):
    with transaction.atomic(store.database.alias), override_settings(DEBUG=True):
        before = len(store.database.connection.queries)
        once()
        assert len(store.database.connection.queries) == before + 1


def test_a_wrapper_executes_it(store, once):
    seen = []

    def wrapper(execute: Any, sql: str, *given: Any) -> Any:
        seen.append(sql[:6])
        return execute(sql, *given)

    with (
        transaction.atomic(store.database.alias),
        store.database.connection.execute_wrapper(wrapper),
    ):
        once()
    assert seen == ["INSERT"]


def test_a_patch_of_djangos_cursor_sees_it(store, once, monkeypatch):
    seen = []
    execute = CursorWrapper.execute

    def patched(cursor: Any, sql: str, params: Any = None) -> Any:
        seen.append(sql[:6])
        return execute(cursor, sql, params)

    monkeypatch.setattr(CursorWrapper, "execute", patched)
    in_block(store.database.alias, once)
    assert "INSERT" in seen


def test_a_broken_transaction_takes_nothing(store, once):
    with rolled_back(store):
        transaction.set_rollback(True, using=store.database.alias)
        with pytest.raises(transaction.TransactionManagementError):
            once()


def test_an_error_is_djangos(store, once):
    taken = once()
    attempt = call(clients.greet, 1).using(database=store.database.alias).attempt()
    attempt.pk = taken.pk
    with pytest.raises(IntegrityError), transaction.atomic(store.database.alias):
        attempt.save()


def test_async_code_can_not_take_it(store, once):
    async def asynchronously() -> None:
        once()

    with transaction.atomic(store.database.alias), pytest.raises(SynchronousOnlyOperation):
        asyncio.run(asynchronously())

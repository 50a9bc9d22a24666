"""Very many attempts of one target go by COPY, and are the same rows as those of an INSERT."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import IntegrityError, connections, transaction
from django.test.utils import CaptureQueriesContext

from async_attempts import Arguments, Attempt, call, enqueue_many
from async_attempts.encryption import NullCipher
from async_attempts.ids import uuid7s
from async_attempts.models.row_template import template_of
from async_attempts.signals import enqueued
from tests.shop import clients

from .rows import every_column, now, row
from .sessions import rolled_back

pytestmark = pytest.mark.only("postgresql", reason="only there is COPY")

MANY = 450
"""Of which a few are encrypted at a time, and the last are fewer."""


@pytest.fixture
def copied(store, monkeypatch) -> list[str]:
    """The text of each COPY."""
    texts: list[str] = []
    copy = store.database.connection.connection.cursor_factory.copy

    def told(cursor: Any, statement: Any, *given: Any, **options: Any) -> Any:
        texts.append(str(statement))
        return copy(cursor, statement, *given, **options)

    monkeypatch.setattr(store.database.connection.connection.cursor_factory, "copy", told)
    return texts


def written(database: str, number: int = MANY) -> list[Attempt]:
    return enqueue_many(call(clients.greet, n).using(database=database) for n in range(number))


def test_they_are_what_an_insert_writes(store, worker, copied):
    before = now(store)
    quickly = written(store.database.alias)
    assert len(copied) == 1
    with CaptureQueriesContext(store.database.connection):
        slowly = written(store.database.alias, MANY)
    assert len(copied) == 1
    rows = {columns["id"]: columns for columns in every_column(store)}
    own = ("id", "args", "scheduled_at", "created_at")
    kinds = {
        repr({name: value for name, value in columns.items() if name not in own})
        for columns in rows.values()
    }
    assert len(kinds) == 1
    assert [row(store, one).method_args for one in quickly] == [[n] for n in range(MANY)]
    for one in quickly:
        columns = rows[one.pk]
        assert before <= columns["scheduled_at"] == columns["created_at"] <= now(store)
    for quick, slow in zip(quickly, slowly, strict=True):
        assert list(vars(quick)) == list(vars(slow))
        assert (quick.status, quick.created, quick._state.adding) == ("pending", True, False)
        assert quick.get_deferred_fields() == slow.get_deferred_fields()


def test_a_copied_row_knows_what_it_may_not_change(store, copied):
    one = written(store.database.alias)[7]
    assert copied
    one.priority = 7
    one.save()
    assert row(store, one).priority == 7
    one.method_name = "other"
    with pytest.raises(ValueError, match="method_name: what an attempt promises can't change"):
        one.save()


def test_all_are_written_or_none(store, copied):
    [taken, *_] = written(store.database.alias)
    template: Any = template_of(Attempt, clients.greet)
    attempts = [template.row(key, Arguments(1)) for key in (*uuid7s(MANY - 1), taken.pk)]
    with transaction.atomic(store.database.alias):
        with pytest.raises(IntegrityError):
            store.attempts.insert_alike(attempts, template)
        assert store.database.attempts.count() == MANY
    assert len(copied) == 2
    assert all(one._state.adding and not one.created for one in attempts)
    attempts.pop()
    store.attempts.insert_alike(attempts, template)
    assert store.database.attempts.count() == 2 * MANY - 1


def test_who_listens_may_ask_the_database(store, copied):
    heard = []

    def listen(*, attempt: Any, **kwargs: Any) -> None:
        heard.append(row(store, attempt).pk)

    enqueued.connect(listen)
    try:
        attempts = written(store.database.alias, 100)
    finally:
        enqueued.disconnect(listen)
    assert copied
    assert heard == [one.pk for one in attempts]


class AskingCipher(NullCipher):
    """Reads the database each time, as one does whose keys are there."""

    def encrypt(self, plaintext: bytes, context: Any) -> bytes:
        with connections["postgresql"].cursor() as cursor:
            cursor.execute("SELECT 1")
        return super().encrypt(plaintext, context)


def test_a_cipher_may_ask_the_database(store, settings, copied):
    path = f"{__name__}.AskingCipher"
    settings.ASYNC_ATTEMPTS = {**settings.ASYNC_ATTEMPTS, "CIPHER": path}
    assert row(store, written(store.database.alias, 100)[99]).method_args == [99]
    assert not copied


def test_where_a_policy_decides_who_writes_an_insert_asks_it(store, copied):
    with rolled_back(store), store.database.connection.cursor() as cursor:
        table = Attempt._meta.db_table
        cursor.execute("CREATE ROLE attempts_tenant")
        cursor.execute(f"GRANT ALL ON {table} TO attempts_tenant")
        cursor.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        cursor.execute(f"CREATE POLICY all_of_them ON {table} USING (true)")
        cursor.execute("SET LOCAL ROLE attempts_tenant")
        assert len(written(store.database.alias, 100)) == store.database.attempts.count() == 100
    assert not copied


def test_a_broken_transaction_takes_nothing(store, copied):
    with rolled_back(store):
        transaction.set_rollback(True, using=store.database.alias)
        with pytest.raises(transaction.TransactionManagementError):
            written(store.database.alias)
    assert not copied

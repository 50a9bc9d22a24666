"""The tables: what the database itself refuses, and its indexes."""

from __future__ import annotations

import pytest
from django.db import DatabaseError, transaction
from django.db.models import IntegerField
from django.test.utils import isolate_apps

from async_attempts import Attempt
from async_attempts.models import AbstractAttempt, DatabaseNow, Failure
from async_attempts.store.columns import Columns
from tests.shop import clients

from .rows import enqueued, put, row

PREFIX = "aa_attempt_"


def refused(store, attempt, constraint, **columns):
    before = row(store, attempt).state
    # Of MariaDB's errors Django knows a broken check as an OperationalError on some versions.
    with pytest.raises(DatabaseError, match=constraint), transaction.atomic(store.database.alias):
        put(store, attempt, **columns)
    assert row(store, attempt).state == before


@pytest.mark.parametrize("status", ["pending", "scheduled", "waiting"])
def test_what_has_not_ended_has_no_end(store, status):
    [attempt] = enqueued(store)
    columns = {"status": status, "completed_at": DatabaseNow()}
    refused(store, attempt, "aa_attempt_completed_at", **columns)


@pytest.mark.parametrize("status", ["succeeded", "failed", "expired"])
def test_what_has_ended_says_when(store, status):
    [attempt] = enqueued(store)
    refused(store, attempt, "aa_attempt_completed_at", status=status)
    put(store, attempt, status=status, completed_at=DatabaseNow())


@pytest.mark.parametrize("status", ["scheduled", "waiting"])
def test_nobody_holds_what_is_not_due(store, worker, status):
    [attempt] = enqueued(store)
    refused(store, attempt, "aa_attempt_claimed_by", status=status, claimed_by=worker.pk)


@pytest.mark.parametrize("status", ["pending", "scheduled"])
def test_only_what_waits_is_blocked(store, status):
    [attempt] = enqueued(store)
    refused(store, attempt, "aa_attempt_blockers", status=status, blockers=1)
    put(store, attempt, status="waiting", blockers=1)


def test_a_unique_key_is_unique_and_none_is_not(store):
    first, second, third = enqueued(store, 3)
    put(store, first, unique_key=b"0123456789abcdef")
    refused(store, second, "unique_key", unique_key=b"0123456789abcdef")
    put(store, second, unique_key=b"0123456789abcdeF")
    assert row(store, third).unique_key is None


def test_an_attempt_cannot_be_taken_from_under_its_failures(store):
    [attempt] = enqueued(store)
    failure = Failure(attempt=attempt, number=1, details=b"", failed_at=DatabaseNow())
    failure.save(using=store.database.alias, force_insert=True)
    with pytest.raises(DatabaseError):
        # Where the key is checked at the commit only, it's the commit of this statement.
        store.database.attempts.filter(pk=attempt.pk)._raw_delete(store.database.alias)


@pytest.mark.only("postgresql", "sqlite", reason="MariaDB has no partial indexes")
def test_the_indexes_are_over_the_rows_that_are_looked_for(store):
    assert _definitions(store) == {
        "claim": (
            ["queue", "num_crashes", "priority desc", "scheduled_at", "id"],
            ["status", "pending"],
        ),
        "promote": (["scheduled_at", "id"], ["status", "scheduled"]),
        "waiting": (
            ["blockers", "limit_key", "priority desc", "scheduled_at", "id"],
            ["status", "waiting"],
        ),
        "triage": (["completed_at"], ["status", "failed", "expired"]),
        "subject": (["subject_type", "subject_id"], ["subject_type", "not null"]),
        "expires": (["expires_at"], ["expires_at", "completed_at", "is null", "not null"]),
        "unique_key": (["unique_key"], ["unique_key", "not null"]),
    }


@pytest.mark.only("mariadb", reason="the others have partial indexes")
def test_the_indexes_lead_with_the_condition_where_none_can_be_partial(store):
    assert _columns(store) == {
        "claim": ["status", "queue", "num_crashes", "priority", "scheduled_at", "id"],
        "promote": ["status", "scheduled_at", "id"],
        "waiting": ["status", "blockers", "limit_key", "priority", "scheduled_at", "id"],
        "triage": ["status", "completed_at"],
        "subject": ["subject_type", "subject_id"],
        "expires": ["completed_at", "expires_at"],
        "unique_key": ["unique_key"],
    }


def test_nothing_else_is_indexed(store):
    kinds = ("index", "unique", "primary_key")
    indexes = [c for c in _constraints(store).values() if any(c[kind] for kind in kinds)]
    assert len(indexes) == len(_ours(store)) + 1
    assert ["id"] in [c["columns"] for c in indexes]


def test_no_database_warns_of_the_indexes(store):
    assert Attempt.check(databases=[store.database.alias]) == []


@pytest.mark.only("postgresql", reason="the others have no fillfactor")
def test_pages_have_room_for_a_claim_beside_the_row(store):
    with store.database.connection.cursor() as cursor:
        cursor.execute(
            "SELECT reloptions FROM pg_class WHERE relname = %s", [Attempt._meta.db_table]
        )
        assert cursor.fetchone() == (["fillfactor=50"],)


def _constraints(store):
    with store.database.connection.cursor() as cursor:
        table = Attempt._meta.db_table
        return store.database.connection.introspection.get_constraints(cursor, table)


def _ours(store):
    return {n: c for n, c in _constraints(store).items() if n.startswith(PREFIX) and c["index"]}


def _columns(store):
    return {name.removeprefix(PREFIX): c["columns"] for name, c in _ours(store).items()}


def _definitions(store):
    """The columns and the words of the condition of each partial index."""
    sql = {
        "postgresql": "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = %s",
        "sqlite": "SELECT name, sql FROM sqlite_master WHERE tbl_name = %s AND type = 'index'",
    }[store.database.connection.vendor]
    with store.database.connection.cursor() as cursor:
        cursor.execute(sql, [Attempt._meta.db_table])
        found = [(n, text) for n, text in cursor.fetchall() if n.startswith(PREFIX)]
    return {name.removeprefix(PREFIX): _parsed(text.lower()) for name, text in found}


def _parsed(definition):
    head, _, condition = definition.partition(" where ")
    columns = head[head.rindex("(") + 1 : head.rindex(")")].replace('"', "").split(", ")
    states = ["pending", "scheduled", "waiting", "failed", "expired"]
    known = ["subject_type", "unique_key", "expires_at", "completed_at", "status", *states]
    return columns, [word for word in [*known, "is null", "not null"] if word in condition]


def counts_written(store, model, given):
    """Write rows of a model of the project's own by one statement; return their numbers."""
    rows = [model(target=clients.greet, method_args=[1], **columns) for columns in given]
    store.attempts._prepare(rows)
    insert = type(store.attempts.inserts)(store.database)
    objects = model.objects.using(store.database.alias)
    insert.columns = Columns(objects, store.database.alias)
    insert.write(rows)
    written = objects.filter(pk__in=[row.pk for row in rows]).order_by("pk")
    return list(written.values_list("number", flat=True))


@isolate_apps("tests.shop")
def test_a_table_may_have_a_column_that_the_database_fills_in(store):
    class Counted(AbstractAttempt):
        number = IntegerField(db_default=9)

        class Meta(AbstractAttempt.Meta):
            app_label = "shop"

    connection = store.database.connection
    with connection.schema_editor() as editor:
        editor.create_model(Counted)
    try:
        with connection.cursor() as cursor:
            made = connection.introspection.get_constraints(cursor, Counted._meta.db_table)
        names = {constraint.name for constraint in Counted._meta.constraints}
        is_native = connection.features.has_native_uuid_field
        assert names - made.keys() == ({"aa_counted_ids"} if is_native else set())
        assert counts_written(store, Counted, [{}] * 9) == [9] * 9
        assert counts_written(store, Counted, [{}] * 8 + [{"number": 3}]) == [9] * 8 + [3]
    finally:
        with connection.schema_editor() as editor:
            editor.delete_model(Counted)

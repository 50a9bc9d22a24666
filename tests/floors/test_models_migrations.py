"""Migrations: what they make on each database, and that they can be undone."""

from __future__ import annotations

from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connections

from async_attempts import Attempt, call
from async_attempts.models import Dependency, Failure, Schedule, Tally, Worker
from tests.shop import clients

MODELS = (Attempt, Dependency, Failure, Schedule, Tally, Worker)
TABLES = {model._meta.db_table for model in MODELS}


def tables(database: str) -> set[str]:
    return TABLES & {*connections[database].introspection.table_names()}


def indexes(database: str) -> dict[str, Any]:
    with connections[database].cursor() as cursor:
        found = connections[database].introspection.get_constraints(cursor, Attempt._meta.db_table)
    return {name: index for name, index in found.items() if name.startswith("aa_attempt_")}


def migrate(database: str, *to: str) -> None:
    call_command("migrate", "async_attempts", *to, database=database, verbosity=0)


@pytest.fixture
def undone(database: str) -> Iterator[None]:
    migrate(database, "zero")
    yield
    migrate(database)


@pytest.mark.django_db(databases="__all__")
def test_models_and_migrations_agree():
    call_command("makemigrations", "async_attempts", check=True, dry_run=True, stdout=StringIO())


def test_they_go_back_to_nothing_and_forward_again(database: str, undone: None):
    assert tables(database) == set()
    migrate(database)
    assert tables(database) == TABLES
    row = call(clients.send_welcome, 1).using(database=database).enqueue()
    row.perform()
    assert row.state == "succeeded"


def test_forward_again_makes_the_same_indexes(database: str):
    before = indexes(database)
    migrate(database, "zero")
    migrate(database)
    assert indexes(database) == before


@pytest.mark.parametrize(
    ("index", "columns"),
    [
        ("claim", ["queue", "num_crashes", "priority", "scheduled_at", "id"]),
        ("promote", ["scheduled_at", "id"]),
        ("triage", ["completed_at"]),
    ],
)
def test_an_index_leads_with_status_where_it_can_not_be_partial(
    database: str, index: str, columns: list[str]
):
    partial = connections[database].features.supports_partial_indexes
    found = indexes(database)[f"aa_attempt_{index}"]
    assert found["columns"] == (columns if partial else ["status", *columns])


def test_unset_tokens_are_not_indexed_where_that_can_be_said(database: str):
    assert indexes(database)["aa_attempt_unique_key"]["unique"]
    if connections[database].features.supports_partial_indexes:
        assert "WHERE" in definition(database, "aa_attempt_unique_key").upper()


@pytest.mark.only("sqlite", "postgresql", reason="MariaDB has no partial indexes")
@pytest.mark.parametrize("index", ["claim", "promote", "triage", "subject"])
def test_indexes_serve_some_rows_only(database: str, index: str):
    assert "WHERE" in definition(database, f"aa_attempt_{index}").upper()


def definition(database: str, index: str) -> str:
    sql = {
        "sqlite": "SELECT sql FROM sqlite_master WHERE name = %s",
        "postgresql": "SELECT indexdef FROM pg_indexes WHERE indexname = %s",
    }[connections[database].vendor]
    with connections[database].cursor() as cursor:
        cursor.execute(sql, [index])
        return str(cursor.fetchone()[0])


@pytest.mark.only("postgresql", reason="the others have no fillfactor")
def test_pages_keep_room_for_hot_updates(database: str):
    with connections[database].cursor() as cursor:
        cursor.execute(
            "SELECT reloptions FROM pg_class WHERE relname = %s", [Attempt._meta.db_table]
        )
        assert cursor.fetchone() == (["fillfactor=50"],)

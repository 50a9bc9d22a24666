"""What somebody wrote past all checks: each page shows what it can, and imports nothing for it."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from django.db import connections
from django.utils import timezone

from async_attempts import call
from async_attempts.models import Attempt, Failure, Queue, Schedule, Worker
from async_attempts.payload import Arguments
from tests.roof.admin_pages import LIST, OneDatabase, attempt_in, operator, page_of, select
from tests.shop import clients
from tests.store.malformed import without_checks
from tests.store.rows import failure_of

ADMIN = "/admin/async_attempts/"
DEEP = "[" * 3_000 + "]" * 3_000
HOSTILE_MOMENTS = ["-infinity", "infinity", "0044-03-15 12:00:00+00 BC", "12026-01-01 00:00:00+00"]


@pytest.fixture
def on_database(database, settings):
    settings.DATABASE_ROUTERS = [OneDatabase(database)]
    return database


def everything() -> dict[str, Any]:
    """A row of each table that refer to one another, and the pages on which they are shown."""
    worker = Worker.objects.create(host="web-1", pid=7, queues=["default"], lease=timezone.now())
    attempt = attempt_in("running", claimed_by=worker.pk)
    Attempt._base_manager.filter(pk=attempt.pk).update(claimed_by=worker.pk)
    failure = failure_of(attempt, traceback="Traceback: in fulfill")
    Failure.objects.update(worker=worker.pk)
    follower = call(clients.send_welcome, 7).using(depends_on=[attempt]).enqueue()
    row = Schedule(
        name="weekly", cron="@weekly", timezone="UTC", target="tests.shop.reports.report"
    )
    row.seal(Arguments())
    row.write(attempt._state.db, None)
    Queue.objects.get_or_create(name="default")
    return {
        LIST: "send_",
        page_of(attempt): "send_welcome",
        page_of(follower): "Depends on",
        f"{ADMIN}failure/": "OSError",
        f"{ADMIN}failure/{failure.pk}/change/": "it broke",
        f"{ADMIN}worker/": "web-1",
        f"{ADMIN}worker/{worker.pk}/change/": "web-1",
        f"{ADMIN}schedule/": "weekly",
        f"{ADMIN}schedule/{row.pk}/change/": "weekly",
        f"{ADMIN}queue/": "default",
    }


def require_shown(pages: dict[str, Any]) -> None:
    client = operator()
    for page, expected in pages.items():
        response = client.get(page)
        assert response.status_code == 200, page
        assert expected in response.content.decode(), page


SWITCHES = {
    "sqlite": "PRAGMA ignore_check_constraints = {}",
    "mysql": "SET SESSION check_constraint_checks = NOT {}",
}


def write(database: str, model: Any, column: str | None, value: Any) -> None:
    """Write into all rows of a table, past Django and past the table's own checks."""
    connection, table = connections[database], model._meta.db_table
    switch = SWITCHES.get(connection.vendor, "SET CONSTRAINTS ALL IMMEDIATE")
    with connection.cursor() as cursor:
        cursor.execute(switch.format(1))
        checks = []
        if connection.vendor == "postgresql":
            cursor.execute(
                "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint"
                " WHERE contype = 'c' AND conrelid = %s::regclass",
                [table],
            )
            checks = cursor.fetchall()
        for name, _ in checks:
            cursor.execute(f'ALTER TABLE "{table}" DROP CONSTRAINT "{name}"')
        try:
            cursor.execute(f"UPDATE {table} SET {column} = %s", [value])
        finally:
            cursor.execute(switch.format(0))
            for name, check in checks:
                # Other tests count on it; the rows that are there now aren't looked at.
                valid = check.removesuffix(" NOT VALID")
                add = f'ALTER TABLE "{table}" ADD CONSTRAINT "{name}" {valid} NOT VALID'
                cursor.execute(add)


TABLES = (Attempt, Failure, Worker, Schedule)


def write_moments(database: str, moment: str) -> None:
    """Into each column of each table."""
    for model in TABLES:
        for field in model._meta.concrete_fields:
            if field.get_internal_type() == "DateTimeField":
                write(database, model, field.column, moment)


JSON = [(Attempt, "metadata"), (Worker, "queues")]


@pytest.mark.only("postgresql", reason="the others have no such moments")
@pytest.mark.parametrize("moment", HOSTILE_MOMENTS)
def test_moments_that_python_does_not_have_hide_no_page(on_database, moment):
    pages = everything()
    write_moments(on_database, moment)
    require_shown(pages)


@pytest.mark.only("sqlite", reason="the others store moments as moments")
def test_moments_that_are_none_hide_no_page(on_database):
    pages = everything()
    write_moments(on_database, "next week")
    require_shown(pages)


@pytest.mark.parametrize(
    ("moment", "zone"),
    [("9999-12-31 23:59:59", "Asia/Tokyo"), ("1000-01-01 00:00:00", "America/New_York")],
)
def test_moments_that_local_time_does_not_have_hide_no_page(on_database, settings, moment, zone):
    settings.TIME_ZONE = zone
    pages = everything()
    write_moments(on_database, moment)
    require_shown(pages)


@pytest.mark.only("postgresql", reason="the others refuse JSON that is so deep")
@pytest.mark.parametrize(("model", "column"), JSON)
def test_what_is_nested_too_deeply_hides_no_page(on_database, model, column):
    pages = everything()
    write(on_database, model, column, DEEP)
    require_shown(pages)


@pytest.mark.parametrize("queues", ["7", "[1, null, {}]", '"default"', "{}", "[[]]"])
def test_queues_that_are_none_hide_no_page(on_database, queues):
    pages = everything()
    write(on_database, Worker, "queues", queues)
    require_shown(pages)


@pytest.mark.parametrize(
    ("subject_type", "subject_id"),
    [
        ("shop.order", ""),
        ("shop.order", "a/b?c\n\u202e"),
        ("async_attempts.attempt", ""),
        ("", ""),
        ("shop", "1"),
        ("a.b.c", "1"),
        ("shop.nothing", "1"),
    ],
)
def test_an_odd_subject_hides_no_page(on_database, subject_type, subject_id):
    pages = everything()
    Attempt._base_manager.update(subject_type=subject_type, subject_id=subject_id)
    require_shown(pages)


@pytest.mark.parametrize(
    "columns",
    [
        {"target": "", "method_name": ""},
        {"target": "a\nb\x1b\u202e", "method_name": "..", "target_pk": "\n"},
        {"timeout": 1e308},
        {"concurrency": 32_767, "limit_key": "\n"},
        {"max_attempts": -1},
        {"num_attempts": 2**31 - 1, "num_crashes": 32_767, "claim_seq": 2**63 - 1},
        {"error_class": "....", "reason": "sealed with key "},
        {"metadata": "text"},
        {"metadata": [1, [2]]},
        {"metadata": None},
    ],
)
def test_odd_columns_hide_no_page(on_database, columns):
    pages = everything()
    for column, value in columns.items():
        given = json.dumps(value) if column == "metadata" else value
        write(on_database, Attempt, column, given)
    require_shown(dict.fromkeys(pages, ""))


def test_a_list_reads_no_metadata(on_database, django_assert_num_queries):
    attempt_in("pending", metadata={"tag": "heavy-canary"})
    rows = operator().get(LIST).context["cl"].result_list
    assert [row.get_deferred_fields() for row in rows] == [
        {"args", "sealed_result", "unique_key", "metadata"}
    ]
    [attempt] = rows
    assert "heavy-canary" in operator().get(page_of(attempt)).content.decode()


def test_a_verb_asks_and_acts_on_rows_that_cannot_be_read(on_database):
    with without_checks(on_database):
        attempt = attempt_in("pending")
        if connections[on_database].vendor == "postgresql":
            write(on_database, Attempt, "created_at", "-infinity")
        question = select(operator(), "expire", attempt, from_page="1")
        assert question.status_code == 200
        response = select(operator(), "expire", attempt)
        assert response.status_code == 302
        assert Attempt._base_manager.values_list("status", flat=True).get() == "expired"


@pytest.mark.parametrize("name", ["tests.shop.exiting", "tests.shop.never_imported"])
def test_no_page_imports_what_a_row_names(on_database, name):
    pages = everything()
    Attempt._base_manager.update(target=name, method_name="run")
    Schedule._base_manager.update(target=f"{name}.run")
    client = operator()
    for page in pages:
        text = client.get(page).content.decode()
        assert client.get(page).status_code == 200
        if page == LIST:
            assert '1/<span title="unknown here' in text
    attempt = Attempt._base_manager.first()
    assert attempt is not None
    assert "(of how many is unknown here)" in client.get(page_of(attempt)).content.decode()
    assert select(client, "expire", attempt, from_page="1").status_code == 200
    assert name not in sys.modules


def test_a_known_target_is_shown_with_how_many_executions_it_may_begin(on_database):
    attempt_in("pending")
    text = operator().get(LIST).content.decode()
    assert "unknown here" not in text
    assert ">0/25<" in text


def test_the_years_of_a_worker_that_is_lost_are_not_needed(on_database):
    """Its name and its state are told though its lease can't be read."""
    worker = Worker.objects.create(host="web-1", pid=7, lease=datetime(9999, 12, 31, tzinfo=UTC))
    attempt = attempt_in("running")
    Attempt._base_manager.filter(pk=attempt.pk).update(claimed_by=worker.pk)
    assert "web-1:7" in operator().get(page_of(attempt)).content.decode()
    Attempt._base_manager.filter(pk=attempt.pk).update(claimed_by=uuid4())
    assert operator().get(page_of(attempt)).status_code == 200

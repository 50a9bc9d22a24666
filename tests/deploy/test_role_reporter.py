"""The rights of a reporter suffice for the admin's pages and the statistics, and open no secret."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import ProgrammingError, connections
from django.test import Client
from django.urls import reverse

from async_attempts import Attempt, call, stats
from async_attempts.models import Failure, Schedule
from tests.deploy.roles import Roles, roles
from tests.roof.admin_pages import LIST, OneDatabase, logged_in, page_of
from tests.shop import flows
from tests.worker.helpers.attempts import drain

__all__ = ["roles"]

pytestmark = pytest.mark.only("postgresql", reason="the page's SQL is PostgreSQL's")

OF_DJANGO = "auth_user, django_session, django_content_type, django_admin_log"
PERMISSIONS = ("view_attempt", "view_queue", "view_schedule", "view_worker")
PAGES = ("attempt", "queue", "schedule", "worker")
SEALED = {
    "async_attempts_attempt": ("args", "result", "unique_key"),
    "async_attempts_failure": ("details",),
    "async_attempts_schedule": ("args",),
}


@pytest.fixture
def attempts(database: str, settings: Any) -> list[Attempt]:
    """One that succeeded, one that failed, and one that waits for another."""
    settings.DATABASE_ROUTERS = [OneDatabase(database)]
    given = {"DATABASE": database, "SCHEDULES": {"nightly": NIGHTLY}}
    settings.ASYNC_ATTEMPTS = settings.ASYNC_ATTEMPTS | given
    made = [call(flows.fetch, 1).using(keep_result=True).enqueue(), call(flows.refuse, 2).enqueue()]
    drain(database)
    return [*made, call(flows.fetch, 3).then(flows.increase).enqueue()]


NIGHTLY = {"cron": "0 2 * * *", "target": "tests.shop.flows.clear_up"}


@pytest.fixture
def staff(attempts: list[Attempt]) -> Client:
    """A member of staff who may view everything but the messages of failures."""
    return logged_in(*PERMISSIONS)


def test_it_lists_everything_in_the_admin(attempts, staff, roles: Roles):
    auth = f"{OF_DJANGO}, auth_permission, auth_group, auth_user_groups"
    more = f"{auth}, auth_group_permissions, auth_user_user_permissions"
    roles.execute(f'GRANT SELECT ON {more} TO "{roles.name("reporter")}"')
    schedule = Schedule.objects.get()
    page_of_schedule = reverse("admin:async_attempts_schedule_change", args=[schedule.pk])
    with roles.acting_as("reporter"):
        for page in PAGES:
            listed = staff.get(f"/admin/async_attempts/{page}/")
            assert listed.status_code == 200
            assert listed.context["cl"].result_count
        for state in ("failed", "pending"):
            assert staff.get(LIST, {"state": state}).context["cl"].result_count == 1
        assert staff.get(LIST, {"q": str(attempts[0].pk)}).context["cl"].result_count == 1
        for attempt in attempts:
            assert staff.get(page_of(attempt)).status_code == 200
        assert staff.get(page_of_schedule).status_code == 200


def test_it_has_the_statistics(database, attempts, roles):
    with roles.acting_as("reporter"):
        assert stats(database=database).queues["default"].failed == 1
        output = StringIO()
        call_command("attempts", "stats", "--database", database, stdout=output)
    assert "flows.refuse" in output.getvalue()


def test_it_reads_what_failed(database, attempts, roles):
    with roles.acting_as("reporter"):
        (failure,) = Failure.objects.using(database).defer("details")
        assert failure.error_class == "ValueError"


@pytest.mark.parametrize(
    ("table", "column"), [(table, column) for table, some in SEALED.items() for column in some]
)
def test_it_reads_nothing_that_is_sealed(roles, table, column):
    for columns in (column, "*", f"length({column}::text)"):
        with (
            roles.acting_as("reporter"),
            pytest.raises(ProgrammingError, match="permission denied"),
        ):
            roles.execute(f"SELECT {columns} FROM {table}")


def test_it_reads_every_column_that_is_not_sealed(database, roles):
    with connections[database].cursor() as cursor:
        for table, sealed in SEALED.items():
            described = connections[database].introspection.get_table_description(cursor, table)
            names = {column.name for column in described} - set(sealed)
            with roles.acting_as("reporter"):
                cursor.execute(f"SELECT {', '.join(sorted(names))} FROM {table}")


@pytest.mark.parametrize(
    ("function", "verb"),
    [
        ("has_any_column_privilege", "INSERT"),
        ("has_any_column_privilege", "UPDATE"),
        ("has_table_privilege", "DELETE"),
        ("has_table_privilege", "TRUNCATE"),
    ],
)
def test_it_can_write_nothing(database, roles, function, verb):
    with connections[database].cursor() as cursor:
        cursor.execute(
            f"SELECT relname FROM pg_class WHERE relkind = 'r' "
            f"AND relnamespace = 'public'::regnamespace AND {function}(%s, oid, %s)",
            [roles.name("reporter"), verb],
        )
        assert cursor.fetchall() == []

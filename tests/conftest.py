"""The fixtures of all tests: `database` runs a test on each database, `child_environment` lets a
child process reach the same ones.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any, Final

import hypothesis
import pytest
from django.core.management.color import no_style
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.base.creation import TEST_DATABASE_PREFIX
from django.test import TransactionTestCase
from pytest_django import DjangoDbBlocker

from tests import databases
from tests.patience import PATIENCE

# How long an example takes says more about the machine than about the code.
hypothesis.settings.register_profile("tests", deadline=None)
hypothesis.settings.load_profile("tests")

KEPT_TABLES: Final = frozenset({"auth_permission", "django_content_type"})


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "database" not in metafunc.fixturenames:
        return
    only = metafunc.definition.get_closest_marker("only")
    names = _narrowed(only) if only else databases.ALIASES
    metafunc.parametrize("database", [_on(name) for name in names], indirect=True)


def _narrowed(only: pytest.Mark) -> tuple[str, ...]:
    unknown = set(only.args) - set(databases.ALIASES)
    if unknown or not only.kwargs.get("reason"):
        raise pytest.UsageError(
            f"only{only.args}: name databases of {list(databases.ALIASES)}, and reason=..."
        )
    return only.args


def _on(name: str) -> object:
    alias = databases.ALIASES[name]
    # Only this one, so that a statement that forgets its alias is an error.
    marks = [pytest.mark.django_db(transaction=True, databases=[alias])]
    if alias not in connections:
        marks.append(pytest.mark.skip(reason=os.environ[databases.MARIADB_ABSENT]))
    return pytest.param(alias, id=name, marks=marks)


@pytest.fixture
def database(request: pytest.FixtureRequest) -> str:
    """The alias of the database that the test is to use; the test runs once on each."""
    alias: str = request.param
    return alias


@pytest.fixture
def at_home(database: str, settings: Any) -> str:
    """As `database`, and attempts go there by themselves."""
    settings.ASYNC_ATTEMPTS = settings.ASYNC_ATTEMPTS | {"DATABASE": database}
    return database


@pytest.fixture
def child_environment(transactional_db: None) -> dict[str, str]:
    """The environment with which a child process sees this test's settings and databases."""
    return os.environ | {
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        # As for pytest itself: what is installed is tested, not what lies in the current directory.
        "PYTHONSAFEPATH": "1",
        databases.LIVE: databases.live(connections),
    }


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """As pytest-django's; at the end it waits for the connections of what tests have left behind.

    A worker whose supervisor was killed lives on for some seconds, and PostgreSQL drops no database
    that somebody uses. Who doesn't end at all is named.
    """
    yield
    with django_db_blocker.unblock():
        until = time.monotonic() + PATIENCE
        while (left := _others_on_postgresql()) and time.monotonic() < until:
            time.sleep(0.1)
        assert not left, left


def _others_on_postgresql() -> list[tuple[object, ...]]:
    if "postgresql" not in connections:
        return []
    if not str(connections["postgresql"].settings_dict["NAME"]).startswith(TEST_DATABASE_PREFIX):
        # No test of this session asked for one.
        return []
    with connections["postgresql"].cursor() as cursor:
        cursor.execute(
            "SELECT pid, state, application_name, backend_start, query FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid() "
            "AND backend_type = 'client backend'"
        )
        return list(cursor.fetchall())


@pytest.fixture(autouse=True, scope="session")
def _quick_flush() -> Iterator[None]:
    """Empties only the tables that have rows, and leaves content types and permissions.

    Django's own flush empties all tables and makes those two anew, which takes far longer.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", _flush)
        yield


def _flush(case: TransactionTestCase) -> None:
    for alias in case.databases:
        connection = connections[alias]
        statements = connection.ops.sql_flush(
            no_style(), _tables_with_rows(connection), allow_cascade=True
        )
        connection.ops.execute_sql_flush(statements)


def _tables_with_rows(connection: BaseDatabaseWrapper) -> list[str]:
    questions = (
        f"SELECT '{table}' WHERE EXISTS (SELECT 1 FROM {connection.ops.quote_name(table)})"
        for table in connection.introspection.django_table_names(include_views=False)
        if table not in KEPT_TABLES
    )
    with connection.cursor() as cursor:
        cursor.execute(" UNION ALL ".join(questions))
        return [table for (table,) in cursor.fetchall()]

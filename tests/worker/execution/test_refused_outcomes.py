"""An outcome that the database refuses stops neither the worker nor its neighbours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connections

from async_attempts import Attempt, Fail
from tests.shop import clients, effects
from tests.worker.helpers.attempts import drain, enqueued, failures, raising, states, stored

CHECK = "ALTER TABLE async_attempts_attempt ADD CONSTRAINT refused CHECK (id <> {key} OR {ok})"
TRIGGER = (
    "CREATE TRIGGER refused BEFORE UPDATE ON async_attempts_attempt "
    "WHEN NEW.id = {key} AND NOT (NEW.{ok}) BEGIN SELECT RAISE(ABORT, 'refused'); END"
)


@contextmanager
def refusing_the_success_of(attempt: Attempt) -> Iterator[None]:
    """Let the database say no to one row's success."""
    connection = connections[str(attempt._state.db)]
    key: Any = Attempt._meta.pk.get_db_prep_value(attempt.pk, connection)
    is_sqlite = connection.vendor == "sqlite"
    begin = (TRIGGER if is_sqlite else CHECK).format(key=f"'{key}'", ok="status <> 'succeeded'")
    end = "TRIGGER refused" if is_sqlite else "CONSTRAINT refused"
    with connection.cursor() as cursor:
        cursor.execute(begin)
        try:
            yield
        finally:
            table = "" if is_sqlite else "ALTER TABLE async_attempts_attempt "
            cursor.execute(f"{table}DROP {end}")


def test_it_is_failed_alone_and_the_others_are_recorded(database):
    attempts = [enqueued(database, clients.send_welcome, number) for number in range(4)]
    with refusing_the_success_of(attempts[2]):
        drain(database)
    assert states(database) == ["succeeded", "succeeded", "failed", "succeeded"]
    assert stored(attempts[2]).reason == "its outcome could not be recorded"
    [failure] = failures(attempts[2])
    assert failure.error_class == "django.db.utils.IntegrityError"


@pytest.mark.only("mariadb", reason="the others have one character set for all tables")
@pytest.mark.usefixtures("few_characters")
def test_a_reason_that_the_table_can_not_store_ends_no_worker(database, acting):
    acting(raising(Fail("\U0001f600")))
    attempts = [enqueued(database, effects.act), enqueued(database, clients.send_welcome, 1)]
    drain(database)
    assert states(database) == ["failed", "succeeded"]
    assert stored(attempts[0]).reason == "its outcome could not be recorded"

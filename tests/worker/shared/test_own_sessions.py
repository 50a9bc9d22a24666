"""A session of the worker's own can neither wait nor be waited for without an end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connections

from async_attempts.worker.shared.connections import use_own_connection
from tests.shop import effects
from tests.worker.helpers import pgbouncers
from tests.worker.helpers.attempts import drain, enqueued, stored
from tests.worker.loop.test_wakeup_pgbouncer import pooled

__all__ = ["pooled"]

LEASE = 9

SETTINGS = {
    "postgresql": (
        (
            "SELECT name, setting FROM pg_settings WHERE name IN ('lock_timeout', "
            "'plan_cache_mode', 'idle_in_transaction_session_timeout')"
        ),
        {
            "lock_timeout": "2000",
            "idle_in_transaction_session_timeout": "4500",
            "plan_cache_mode": "force_custom_plan",
        },
    ),
    "mysql": (
        (
            "SHOW SESSION VARIABLES WHERE variable_name IN "
            "('innodb_lock_wait_timeout', 'lock_wait_timeout', 'idle_transaction_timeout')"
        ),
        {
            "innodb_lock_wait_timeout": "2",
            "lock_wait_timeout": "2",
            "idle_transaction_timeout": "5",
        },
    ),
    "sqlite": ("SELECT 'timeout', timeout FROM pragma_busy_timeout", {"timeout": 2000}),
}


def chosen(database: str) -> dict[str, Any]:
    """What this thread's session is told."""
    query, _ = SETTINGS[connections[database].vendor]
    with connections[database].cursor() as cursor:
        cursor.execute(query)
        return dict(cursor.fetchall())


@pytest.fixture
def own(database: str, settings: Any) -> Callable[[Callable[[], Any]], Any]:
    """Calls a function in a thread whose session is a worker's own."""
    settings.ASYNC_ATTEMPTS = settings.ASYNC_ATTEMPTS | {"LEASE": LEASE}

    def call(work: Any) -> Any:
        answers = []

        def there() -> None:
            use_own_connection(database)
            try:
                answers.append(work())
            finally:
                connections.close_all()

        thread = threading.Thread(target=there)
        thread.start()
        thread.join()
        return answers[0]

    return call


def test_every_wait_has_an_end_also_after_a_reconnection(database, own):
    expected = SETTINGS[connections[database].vendor][1]

    def twice() -> list[dict[str, Any]]:
        first = chosen(database)
        connections[database].close()
        return [first, chosen(database)]

    assert own(twice) == [expected, expected]


@pytest.mark.only("postgresql", "mariadb", reason="SQLite has no server")
def test_sessions_of_callers_and_targets_stay_as_they_are(database, own):
    before = chosen(database)
    enqueued(database, effects.record)
    drain(database)
    assert chosen(database) == before
    assert own(lambda: chosen(database)) != before


@pytest.mark.only("postgresql", reason="the others' drivers prepare nothing")
def test_only_a_session_of_the_workers_own_prepares_statements(database, own):
    enqueued(database, effects.record)
    drain(database)
    assert connections[database].connection.prepare_threshold is None

    def threshold() -> Any:
        connections[database].ensure_connection()
        return connections[database].connection.prepare_threshold

    assert own(threshold) == 2


@pytest.mark.only("postgresql", reason="the others have no poolers here")
@pytest.mark.skipif(pgbouncers.BINARY is None, reason="pgbouncer isn't installed")
@pytest.mark.parametrize("pooled", ["transaction"], indirect=True)
def test_a_poolers_session_is_left_as_it_is(database, pooled, own):
    before = chosen(database)
    assert own(lambda: chosen(database)) == before
    assert chosen(database) == before


@pytest.mark.only("postgresql", reason="the other servers have no such settings for a session")
def test_the_server_notices_the_death_of_a_targets_host(database, workers, tmp_path):
    """What an atomic attempt has locked would stay locked for as long as the kernel is patient."""
    said = tmp_path / "said"
    attempt = enqueued(database, effects.write_session_settings, database, str(said))
    worker = workers.start("--drain", f"--database={database}")
    assert worker.exit_code() == 0, worker.output
    assert stored(attempt).status == "succeeded"
    assert said.read_text().split() == ["tcp_keepalives_count", "tcp_keepalives_idle",
        "tcp_keepalives_interval", "tcp_user_timeout"]  # fmt: skip

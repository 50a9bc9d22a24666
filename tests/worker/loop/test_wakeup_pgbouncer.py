"""Behind PgBouncer: without notifications, or with a listener that goes past it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db import connections
from django.test import override_settings
from psycopg.conninfo import make_conninfo

from async_attempts.store import store_for
from async_attempts.worker.loop.wakeup import WakeUp
from tests.worker.helpers import pgbouncers
from tests.worker.helpers.attempts import drain, states
from tests.worker.helpers.listeners import asleep, gives, is_notified, until

pytestmark = [
    pytest.mark.only("postgresql", reason="the others have no notifications"),
    pytest.mark.skipif(pgbouncers.BINARY is None, reason="pgbouncer isn't installed"),
]


@pytest.fixture(params=["transaction"])
def pooled(request: pytest.FixtureRequest, database: str) -> Iterator[dict[str, Any]]:
    """The tests' database is reached through a pooler; gives where the server itself is."""
    settings = connections[database].settings_dict
    given = connections[database].get_connection_params()
    direct: dict[str, Any] = {
        k: given[k] for k in ("dbname", "host", "port", "user", "password") if k in given
    }
    with pgbouncers.before(database, request.param) as port:
        connections[database].close()
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(settings, "HOST", "127.0.0.1")
            patch.setitem(settings, "PORT", port)
            patch.setitem(settings, "USER", direct.get("user") or "postgres")
            patch.setitem(settings, "DISABLE_SERVER_SIDE_CURSORS", True)
            yield direct
            connections[database].close()
    connections[database].close()


def with_settings(**changed: object) -> override_settings:
    return override_settings(ASYNC_ATTEMPTS=django_settings.ASYNC_ATTEMPTS | changed)


def test_without_notifications_all_goes_through_it(database, pooled):
    with with_settings(NOTIFY=False):
        wake_up = WakeUp(store_for(database), None)
        gives(database)
        assert wake_up.longest_sleep() == 1.0
        drain(database)
    assert states(database) == ["succeeded"]
    wake_up.close()


def test_a_listener_that_goes_past_it_is_notified_through_it(database, pooled):
    with with_settings(LISTEN_DSN=make_conninfo(**pooled)):
        wake_up = asleep(database)
        gives(database)
        assert is_notified(wake_up)
        drain(database)
    assert states(database) == ["succeeded"]
    wake_up.close()


@pytest.mark.parametrize("pooled", ["transaction", "session"], indirect=True)
def test_a_listener_that_goes_through_it_is_told_so_and_polls(database, pooled, caplog):
    wake_up = WakeUp(store_for(database), None)
    until(lambda: wake_up.longest_sleep() and caplog.records)
    assert wake_up.fileno() is None
    assert "BehindPooler" in caplog.text
    gives(database)
    drain(database)
    assert states(database) == ["succeeded"]
    wake_up.close()

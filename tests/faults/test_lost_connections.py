"""Guarantee 7: a worker whose connections are cut stays, and finishes everything."""

from __future__ import annotations

import signal
from functools import partial

import pytest
from django.db import connections

from async_attempts.api import call, enqueue_many
from async_attempts.models import Attempt, Worker
from tests.shop import effects
from tests.shop.models import Ledger
from tests.worker.attempts import enqueued, stored
from tests.worker.processes import lines, until

pytestmark = pytest.mark.only(
    "postgresql", "mariadb", reason="SQLite has no connections that somebody else could cut"
)

OTHERS = {
    "postgresql": "SELECT pid FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()",
    "mysql": "SELECT id FROM information_schema.processlist "
    "WHERE db = DATABASE() AND id <> CONNECTION_ID()",
}
CUT = {"postgresql": "SELECT pg_terminate_backend(%s)", "mysql": "KILL %s"}


def cut_connections(database: str) -> int:
    """End all connections to the database but our own; returns how many there were."""
    vendor = connections[database].vendor
    with connections[database].cursor() as cursor:
        cursor.execute(OTHERS[vendor])
        others = [pid for (pid,) in cursor.fetchall()]
        for pid in others:
            cursor.execute(CUT[vendor], [pid])
    return len(others)


def have_succeeded(database: str) -> bool:
    """Whether all attempts have."""
    return not Attempt.objects.using(database).exclude(status="succeeded").exists()


def test_a_worker_outlives_its_connections_again_and_again(database, mortals, ledger):
    calls = [
        call(effects.write, str(ledger)),
        call(effects.write_row, database),
        call(effects.write_slowly, str(ledger), 0.01),
    ]
    enqueue_many(one.using(database=database) for one in calls * 50)

    def has_come_to(number: int) -> bool:
        return len(lines(ledger)) >= number

    worker = mortals.start("--poll-interval=0.05", f"--database={database}")
    for done in (1, 30, 60):
        until(partial(has_come_to, done), worker)
        until(partial(cut_connections, database), worker)
    until(lambda: have_succeeded(database), worker)
    enqueued(database, effects.write, str(ledger))
    until(lambda: have_succeeded(database), worker)
    worker.signal(signal.SIGTERM)
    assert worker.exit_code() == 0, worker.output

    ids = {line[0] for line in lines(ledger)}
    written = list(Ledger.objects.using(database).values_list("attempt_id", flat=True))
    assert len(ids) == 101
    assert len(written) == len(set(written)) == 50
    assert Worker.objects.using(database).latest("id").state == "stopped"
    assert "Error" in worker.output


@pytest.mark.parametrize("signals", [[], [signal.SIGTERM]], ids=["goes on", "is stopped"])
def test_an_outcome_is_recorded_though_the_connection_was_cut_meanwhile(
    database, mortals, tmp_path, signals
):
    began, go = tmp_path / "began", tmp_path / "go"
    attempt = enqueued(database, effects.wait_for, str(began), str(go))
    unbegun = enqueued(database, effects.write, str(tmp_path / "unbegun"))
    worker = mortals.start("--poll-interval=0.05", f"--database={database}")
    until(lambda: lines(began), worker)
    assert cut_connections(database)
    for number in signals:
        worker.signal(number)
    go.touch()
    if not signals:
        until(lambda: have_succeeded(database), worker)
        worker.signal(signal.SIGTERM)
    assert worker.exit_code() == 0, worker.output
    assert (stored(attempt).status, stored(attempt).claim_seq) == ("succeeded", 1)
    assert stored(unbegun).claimed_by is None or not signals

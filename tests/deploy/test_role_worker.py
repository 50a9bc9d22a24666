"""The rights of a worker suffice for all that a worker and its operators do, and for no more."""

from __future__ import annotations

import signal
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import ProgrammingError, connections
from django.test import override_settings
from django.utils import timezone

from async_attempts import Attempt, call, parallel, stats
from async_attempts.lifecycle import FINAL
from async_attempts.models import Dependency, Failure, Schedule, Slot, Tally, Worker
from async_attempts.store import store_for
from async_attempts.store.expressions import seconds_from_now
from async_attempts.worker.health.readiness import require_ready
from async_attempts.worker.maintenance.maintenance import Maintenance
from tests.deploy.roles import Roles, roles
from tests.shop import effects, flows, limited, paced
from tests.store.rows import let_lease_run_out, registered
from tests.worker.conftest import workers
from tests.worker.helpers.attempts import drain, put, stored
from tests.worker.helpers.listeners import gives
from tests.worker.helpers.processes import lines, until

__all__ = ["roles", "workers"]

pytestmark = pytest.mark.only("postgresql", reason="the page's SQL is PostgreSQL's")

QUEUES = {"default": {"rate": "1000/s"}, "emails": {"concurrency": 2}, "fulfilment": {}}
NEW_KEY = "dxPt3SuFh4xWN1YySpgAbxRLiiLbBjGdJ3WT+5nAQY8="
TICKING = {"cron": "* * * * * *", "target": "tests.shop.flows.clear_up"}


def everything(database: str, directory: Path) -> list[Attempt]:
    """Attempts of each kind, which all end by themselves."""
    ledger, new = str(directory / "ledger"), {"database": database}
    kept = call(flows.fetch, 7).using(keep_result=True, **new).enqueue()
    return [
        kept,
        call(effects.write, ledger).using(**new).enqueue(),
        call(effects.write_and_die, ledger, 1).using(**new).enqueue(),
        call(effects.record_async, 1).using(**new).enqueue(),
        call(effects.act_atomically).using(**new).enqueue(),
        call(effects.act_by_mail).using(**new).enqueue(),
        call(effects.say_and_wait, str(directory), "begun").using(**new).enqueue(),
        call(flows.refuse).using(**new).enqueue(),
        call(flows.give_up).using(**new).enqueue(),
        call(flows.drop).using(**new).enqueue(),
        call(flows.fetch, 1).then(flows.refuse).then(flows.increase).using(**new).enqueue(),
        parallel(call(flows.fetch, 1), call(flows.fetch, 2))
        .then(flows.build)
        .using(**new)
        .enqueue(),
        call(flows.clear_up).using(depends_on=[kept], **new).enqueue(),
        call(effects.act).using(scheduled_at=timedelta(seconds=1), **new).enqueue(),
        call(effects.act).using(expires_at=timezone.now() - timedelta(hours=1), **new).enqueue(),
        *(call(limited.one_of_two, str(directory)).using(**new).enqueue() for _ in range(5)),
        gives(database),
    ]


def test_it_performs_all_that_there_is(database, roles, workers, tmp_path):
    given = everything(database, tmp_path)
    workers.settings = {
        "DATABASE": database,
        "QUEUES": QUEUES,
        "SCHEDULES": {"each second": TICKING},
        "KEEP": {"succeeded": 3600, "expired": 3600, "failed": 3600},
    }
    options = connections[database].settings_dict["OPTIONS"]
    as_worker = f"-c role={roles.name('worker')}"
    workers.databases = {database: {"OPTIONS": options | {"options": as_worker}}}
    worker = workers.start(f"--database={database}")
    rows = Attempt.objects.using(database)
    until(lambda: not rows.filter(schedule=None).exclude(status__in=FINAL).exists(), worker)
    until(lambda: rows.filter(schedule="each second", status="succeeded").exists(), worker)
    worker.signal(signal.SIGTERM)
    assert worker.exit_code() == 0, worker.output
    assert "permission denied" not in worker.output
    assert "InsufficientPrivilege" not in worker.output
    assert "ProgrammingError" not in worker.output
    assert stored(given[0]).result() == 7
    assert len({line[0] for line in lines(tmp_path / "ledger")}) == 2
    assert Failure.objects.using(database).filter(kind="crash").exists()
    assert Tally.objects.using(database).exists()
    assert Slot.objects.using(database).exists()
    assert not Worker.objects.using(database).filter(state__in=["live", "dead"]).exists()


def rescue(database: str) -> None:
    store = store_for(database)
    dead, claimed = registered(store), call(effects.act).using(database=database).enqueue()
    put(claimed, claimed_by=dead.pk, started_at=timezone.now(), num_attempts=1, claim_seq=1)
    let_lease_run_out(store, dead)
    store.workers.rescue()
    assert stored(claimed).num_crashes == 1


def take_back_orphans(database: str) -> None:
    claimed = call(effects.act).using(database=database).enqueue()
    put(claimed, claimed_by=uuid4(), started_at=timezone.now(), num_attempts=1, claim_seq=1)
    assert Maintenance(store_for(database)).take_back_orphans() == 1


def expire_overdue(database: str) -> None:
    attempt = call(effects.act).using(database=database).enqueue()
    put(attempt, expires_at=timezone.now() - timedelta(hours=1))
    Maintenance(store_for(database)).expire_overdue()
    assert stored(attempt).status == "expired"


def sweep(database: str) -> None:
    older = call(flows.fetch, 1).using(database=database).enqueue()
    later = call(flows.clear_up).using(database=database, depends_on=[older]).enqueue()
    put(older, status="succeeded", completed_at=timezone.now())
    assert Maintenance(store_for(database)).sweep() == 1
    assert stored(later).status == "pending"


def prune(database: str) -> None:
    long_ago = timezone.now() - timedelta(days=400)
    attempt = call(flows.refuse).then(flows.fetch).using(database=database).enqueue()
    rows = Attempt.objects.using(database)
    Failure.objects.using(database).create(
        attempt=attempt, number=1, kind="error", started_at=long_ago, failed_at=long_ago
    )
    call(paced.reindex, 1).using(database=database).enqueue()
    call(limited.one_of_two, "").using(database=database).enqueue()
    rows.update(status="expired", completed_at=long_ago, created_at=long_ago, blockers=0)
    Dependency.objects.using(database).update(state="unmet")
    Slot.objects.using(database).create(queue="default", key=b"gone", number=0)
    Tally.objects.using(database).create(
        minute=long_ago, queue="default", target="gone", outcome="succeeded"
    )
    dead = registered(store_for(database))
    Worker.objects.using(database).filter(pk=dead.pk).update(
        state="stopped", lease=seconds_from_now(-(10**6))
    )
    Maintenance(store_for(database)).prune()
    assert not rows.exists()
    assert not Worker.objects.using(database).exists()
    assert not Tally.objects.using(database).exists()


def enqueue_as_targets_do(database: str) -> None:
    for number in range(2):
        call(paced.reindex, 1).using(database=database).enqueue()
        call(effects.act).using(database=database, idempotence_token="one").enqueue()
        call(flows.fetch, number).then(flows.increase).using(database=database).enqueue()


def verbs_of_people(database: str) -> None:
    attempt = call(effects.act).using(database=database).enqueue()
    attempt.expire("why")
    attempt.retry()
    attempt.fail("why")
    Attempt.objects.using(database).filter(pk=attempt.pk).retry()
    assert stored(attempt).status == "pending"


def perform(database: str) -> None:
    call(flows.fetch, 1).then(flows.refuse).then(flows.increase).using(database=database).enqueue()
    call(flows.give_up).using(database=database).enqueue()
    call(limited.unless_urgent, False).using(database=database).enqueue()
    drain(database)
    assert Tally.objects.using(database).exists()
    assert Failure.objects.using(database).count() == 2


def rotate_keys(database: str) -> None:
    perform(database)
    before = [bytes(failure.details) for failure in Failure.objects.using(database)]
    given = settings.ASYNC_ATTEMPTS
    with override_settings(ASYNC_ATTEMPTS=given | {"KEYS": [NEW_KEY, *given["KEYS"]]}):
        call_command("attempts", "rotate-keys", "--database", database)
    after = [bytes(failure.details) for failure in Failure.objects.using(database)]
    assert not set(before) & set(after)


def commands(database: str) -> None:
    call_command("attempts", "prune", "--database", database)
    call_command("attempts", "schedules", "--database", database, "--pause", "each second")
    call_command("attempts", "schedules", "--database", database, "--run-now", "each second")
    call_command("attempts", "queues", "--database", database, "--pause", "emails")
    assert Schedule.objects.using(database).get().is_paused
    assert stats(database=database).queues


def enqueue_ticks(database: str) -> None:
    subject = call(effects.act).using(database=database).enqueue()
    rows = Schedule.objects.using(database)
    for about in (None, subject):
        rows.create(every=60, target=effects.act, subject=about)
    Attempt.objects.using(database).filter(pk=subject.pk).delete()
    rows.update(next_tick=seconds_from_now(-1))
    ticked = store_for(database).schedules.enqueue_ticks([])
    assert [one.problem for one in ticked] == [None, None]
    assert rows.get().subject is None


def readiness(database: str) -> None:
    require_ready(database)


CHORES = (
    readiness,
    rescue,
    take_back_orphans,
    expire_overdue,
    sweep,
    prune,
    enqueue_as_targets_do,
    verbs_of_people,
    perform,
    rotate_keys,
    commands,
    enqueue_ticks,
)


@pytest.mark.parametrize("chore", CHORES, ids=lambda chore: chore.__name__)
def test_it_looks_after(
    database: str, roles: Roles, chore: Callable[[str], None], caplog: pytest.LogCaptureFixture
):
    given = {"SCHEDULES": {"each second": TICKING}, "DATABASE": database}
    with (
        override_settings(ASYNC_ATTEMPTS=settings.ASYNC_ATTEMPTS | given),
        roles.acting_as("worker"),
    ):
        chore(database)
    assert [record.getMessage() for record in caplog.records if record.exc_info] == []


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT password FROM auth_user",
        "TRUNCATE async_attempts_attempt",
        "CREATE TABLE mine (id int)",
        "ALTER TABLE async_attempts_attempt DISABLE TRIGGER ALL",
        "DELETE FROM django_migrations",
    ],
)
def test_it_may_do_nothing_else(database, roles, statement):
    with (
        roles.acting_as("worker"),
        pytest.raises(ProgrammingError, match=r"permission denied|must be owner"),
    ):
        roles.execute(statement)

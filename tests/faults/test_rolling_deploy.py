"""Two releases side by side: one knows version 1 of the stored bytes alone, the other writes 2."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from django.conf import settings
from django.core.management import call_command
from django.test import override_settings

from async_attempts import Arguments, Attempt, call, parallel, stats
from async_attempts.lifecycle import LIVE
from async_attempts.models import DatabaseNow, Failure, Schedule
from async_attempts.store import store_for
from tests.faults.fleet import started, stopped
from tests.shop import effects, flows
from tests.worker.helpers.attempts import drain, enqueued, stored
from tests.worker.helpers.processes import until

FIRST = "tests.shop.vault.FirstVersion"


def old_release():
    """What this process seals is sealed by the older release."""
    return override_settings(ASYNC_ATTEMPTS=settings.ASYNC_ATTEMPTS | {"CIPHER": FIRST})


def attempts(database: str) -> Any:
    return Attempt.objects.using(database).order_by("id")


def write_everything(database: str, path: str, *, release: str) -> None:
    """Enqueue attempts of each kind, as a web process of this release does."""
    options = {"keep_result": True}
    for number in range(5):
        enqueued(database, effects.write, path, options=options)
        enqueued(
            database, effects.write, path, options={"idempotence_token": f"{release} {number}"}
        )
    call(flows.fetch, 1).using(database=database).then(flows.increase).then(flows.fetch).enqueue()
    members = [call(flows.fetch, number).using(database=database) for number in range(3)]
    parallel(*members).then(flows.build).finally_(flows.clear_up).enqueue()
    call(flows.give_up).using(database=database).then(flows.fetch).catch(flows.report).enqueue()
    shared = call(flows.fetch, 5).using(database=database, idempotence_token="shared")
    first = shared.attempt()
    then = call(flows.look_back).using(database=database, depends_on=[first]).attempt()
    store_for(database).insert_or_get_many([first, then])
    parallel(call(flows.fetch, 2).using(database=database), call(flows.give_up)).settled(
        flows.settle
    ).enqueue()
    write_schedule(database, f"minutely {release}", path)


def write_schedule(database: str, name: str, path: str) -> None:
    store = store_for(database)
    row = Schedule(name=name, cron="* * * * *", timezone="UTC", target="tests.shop.effects.write")
    row._state.db = database
    row.seal(Arguments(path))
    store.put(row)


def let_everything_be_due(database: str) -> None:
    """Let the delays pass after which what couldn't be opened is tried again."""
    waiting = attempts(database).filter(status="scheduled")
    store_for(database).redone(lambda: waiting.update(scheduled_at=DatabaseNow()))


def versions(database: str) -> Counter[int]:
    """How many sealed values there are of each version."""
    values = [
        *attempts(database).values_list("args", flat=True),
        *attempts(database).exclude(sealed_result=None).values_list("sealed_result", flat=True),
        *Failure.objects.using(database).values_list("details", flat=True),
        *Schedule.objects.using(database).values_list("args", flat=True),
    ]
    return Counter(bytes(value)[0] for value in values if value)


def test_workers_of_both_releases_perform_everything_once(database, workers, tmp_path):
    path = tmp_path / "traces"
    with old_release():
        write_everything(database, str(path), release="old")
    write_everything(database, str(path), release="new")
    assert versions(database)[1] > 20
    assert versions(database)[2] > 20
    minute = store_for(database).moment().replace(second=0, microsecond=0)
    Schedule.objects.using(database).update(next_tick=minute)
    one = ("--processes=1", "--threads=2")
    workers.settings = {"CIPHER": FIRST}
    old = started(workers, database, *one)
    until(lambda: attempts(database).filter(status="succeeded").exists(), old)
    workers.settings = {}
    new = started(workers, database, *one)
    more = iter(range(3))

    def everything_ended() -> bool:
        let_everything_be_due(database)
        if (number := next(more, None)) is not None:
            write_everything(database, str(path), release=f"later {number}")
        return not attempts(database).filter(status__in=LIVE).exists()

    until(everything_ended, old, new)
    stopped(old)
    stopped(new)
    assert "a form that this release doesn't know: format 2" in old.output
    assert "doesn't know" not in new.output
    unwanted = attempts(database).exclude(status="succeeded").exclude(method_name__in=("give_up",))
    assert [(row.method_name, row.reason) for row in unwanted.exclude(status="expired")] == []
    assert set(Failure.objects.using(database).values_list("kind", "error_class")) == {
        ("error", "async_attempts.exceptions.Fail")
    }
    traces = Counter(line.split()[0] for line in path.read_text().splitlines())
    written = attempts(database).filter(method_name="write")
    assert traces == {str(row.pk): 1 for row in written}
    assert written.exclude(schedule=None).exists()
    assert set(versions(database)) == {1, 2}


def ended_in_version_1(database: str, path: str) -> None:
    """What the older release has left: ended, waiting, and due."""
    with old_release():
        write_everything(database, path, release="old")
        drain(database)
        write_everything(database, path, release="waiting")
        assert set(versions(database)) == {1}


def rotated(database: str) -> None:
    call_command("attempts", "rotate-keys", database=database, batch_size=7, verbosity=0)


def test_rotate_keys_seals_in_version_2_what_version_1_has_left(database, tmp_path):
    path = tmp_path / "traces"
    ended_in_version_1(database, str(path))
    kept = attempts(database).filter(method_name="fetch", status="succeeded")
    results = {row.pk: row.stored_result for row in kept}
    arguments = {row.pk: row.method_args for row in attempts(database).filter(method_name="write")}
    messages = {f.pk: f.message for f in Failure.objects.using(database)}
    assert results
    assert messages
    rotated(database)
    assert set(versions(database)) == {2}
    assert {row.pk: row.stored_result for row in kept.all() if row.pk in results} == results
    writes = attempts(database).filter(method_name="write")
    assert {row.pk: row.method_args for row in writes} == arguments
    assert {f.pk: f.message for f in Failure.objects.using(database)} == messages
    assert store_for(database).schedules.earliest("id").arguments == Arguments(str(path))


def test_what_rotate_keys_has_sealed_anew_is_performed(database, tmp_path):
    path = tmp_path / "traces"
    ended_in_version_1(database, str(path))
    rotated(database)
    flows.noted.clear()
    drain(database)
    assert not attempts(database).filter(status__in=LIVE).exists()
    failed = attempts(database).filter(status="failed").exclude(method_name="give_up")
    assert [(row.method_name, row.reason) for row in failed] == []
    names = Counter(name for name, _ in flows.noted)
    assert names["build"] == names["report"] == names["settle"] == names["look_back"] == 1
    assert ("build", [0, 1, 2]) in flows.noted
    assert ("increase", 1) in flows.noted


def test_what_rotate_keys_has_sealed_anew_is_bound_to_its_prerequisites(database, tmp_path):
    with old_release():
        last = call(flows.fetch, 10).using(database=database).then(flows.increase).enqueue()
        other = enqueued(database, flows.fetch, 9999, options={"keep_result": True})
    rotated(database)
    last.dependencies.using(database).update(prerequisite=other)
    flows.noted.clear()
    drain(database)
    assert ("increase", 9999) not in flows.noted
    assert stored(last).status == "failed"


@pytest.mark.parametrize("is_rotated", [False, True])
def test_what_was_sealed_in_version_1_is_retried_and_caught_in_version_2(
    database, is_rotated, monkeypatch
):
    with old_release():
        flow = call(flows.break_at_first).using(database=database).then(flows.fetch)
        flow.catch(flows.report).enqueue()
    if is_rotated:
        rotated(database)
    flows.noted.clear()
    drain(database)
    assert [name for name, _ in flows.noted] == ["report"]
    monkeypatch.setattr(flows, "broken", False)
    attempts(database).get(method_name="break_at_first").retry()
    drain(database)
    assert flows.noted[-1] == ("fetch", "mended")


def test_the_figures_name_the_format_that_a_release_does_not_know(database):
    for _ in range(7):
        enqueued(database, effects.record)
    with old_release():
        drain(database, batch_size=3)
    # Those that claims pass over are counted, too; whichever release counts.
    assert dict(stats(database=database).missing_keys) == {"format 2": 7}
    with old_release():
        assert dict(stats(database=database).missing_keys) == {"format 2": 7}

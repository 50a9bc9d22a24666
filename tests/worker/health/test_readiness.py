"""Whether a worker can work on a database, as `/readyz` asks again and again."""

from __future__ import annotations

import pytest
from django.db import connections
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.test.utils import CaptureQueriesContext

from async_attempts.worker.health import readiness
from async_attempts.worker.health.readiness import FRESH, NotReady, Readiness, require_ready

FIRST = ("async_attempts", "0001_initial")


@pytest.fixture
def moment(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which stands still."""
    moment = [1000.0]
    monkeypatch.setattr(readiness, "now", lambda: moment[0])
    return moment


@pytest.fixture
def recorder(database: str):
    """What was applied; afterwards as it was before."""
    recorder = MigrationRecorder(connections[database])
    yield recorder
    recorder.record_unapplied(*FIRST)
    recorder.record_applied(*FIRST)


def counted(monkeypatch: pytest.MonkeyPatch, method: str) -> list[MigrationLoader]:
    """The loaders of migrations on which this is called from now on, each time."""
    calls: list[MigrationLoader] = []
    original = getattr(MigrationLoader, method)

    def noted(loader: MigrationLoader) -> None:
        calls.append(loader)
        original(loader)

    monkeypatch.setattr(MigrationLoader, method, noted)
    return calls


def test_an_answer_holds_for_a_second(database, moment, recorder):
    ready = Readiness(database)
    assert ready.problem() is None
    recorder.record_unapplied(*FIRST)
    moment[0] += FRESH / 2
    with CaptureQueriesContext(connections[database]) as asked:
        assert ready.problem() is None
    assert len(asked) == 0
    moment[0] += FRESH / 2
    assert isinstance(ready.problem(), NotReady)
    recorder.record_applied(*FIRST)
    assert isinstance(ready.problem(), NotReady)
    moment[0] += FRESH
    assert ready.problem() is None


def test_the_files_of_the_migrations_are_read_once(database, moment, recorder, monkeypatch):
    read = counted(monkeypatch, "load_disk")
    ready = Readiness(database)
    for change in (recorder.record_unapplied, recorder.record_applied):
        ready.problem()
        change(*FIRST)
        moment[0] += FRESH
    assert ready.problem() is None
    assert len(read) == 1


def test_the_graph_of_the_migrations_is_built_once_while_nothing_is_applied(
    database, moment, monkeypatch
):
    built = counted(monkeypatch, "build_graph")
    ready = Readiness(database)
    for _ in range(3):
        assert ready.problem() is None
        moment[0] += FRESH
    assert len(built) == 1


def test_a_worker_does_not_start_on_a_database_that_lacks_a_migration(database, recorder):
    require_ready(database)
    recorder.record_unapplied(*FIRST)
    with pytest.raises(NotReady, match=f"lacks 1 migrations of .* migrate --database {database}"):
        require_ready(database)

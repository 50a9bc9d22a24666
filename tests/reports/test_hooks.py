"""What users of other projects have reported of signals and hooks that broke their workers."""

from __future__ import annotations

from pathlib import Path

import pytest

from async_attempts import signals
from async_attempts.models import Attempt
from tests.shop import effects
from tests.worker.conftest import acting, workers
from tests.worker.helpers.attempts import drain, enqueued, failures, states, stored
from tests.worker.helpers.processes import lines, until

__all__ = ["acting", "workers"]

HOOK = "tests.reports.test_hooks.note_and_hang"


@pytest.mark.parametrize("broken", [ValueError("in a receiver"), SystemExit(1)])
@pytest.mark.parametrize("name", ["succeeded", "started"])
def test_an_exception_in_a_signal_does_not_make_the_worker_hang(database, name, broken):
    """Celery #2738: a task was never acknowledged, and its worker stuck."""

    def receiver(**kwargs):
        raise broken

    signal = getattr(signals, name)
    attempts = [enqueued(database, effects.record) for _ in range(3)]
    signal.connect(receiver)
    try:
        drain(database)
    finally:
        signal.disconnect(receiver)
    assert not Attempt.objects.using(database).running().exists()
    if not (name == "started" and isinstance(broken, SystemExit)):
        assert states(database) == ["succeeded"] * len(attempts)


@pytest.mark.parametrize("broken", [ValueError("in the hook"), SystemExit(1)])
def test_an_exception_in_the_failure_callback_does_not_end_the_worker(
    database, acting, settings, broken
):
    """delayed_job #671: the job was not deleted, and the worker's process died."""

    def on_error(attempt, error):
        raise broken

    def act():
        raise RuntimeError("the attempt's own")

    settings.ASYNC_ATTEMPTS = {**settings.ASYNC_ATTEMPTS, "ON_ERROR": on_error}
    acting(act)
    attempt = enqueued(database, effects.act, options={"max_attempts": 1})
    neighbour = enqueued(database, effects.record)
    drain(database)
    assert (stored(attempt).status, stored(neighbour).status) == ("failed", "succeeded")
    assert [failure.message for failure in failures(attempt)] == ["the attempt's own"]


def note_and_hang(attempt: Attempt, error: BaseException) -> None:
    """An error hook that never comes back."""
    path = Path(attempt.metadata["path"])
    with path.open("a") as file:
        file.write("called\n")
    until(lambda: False)


@pytest.mark.slow
def test_a_worker_is_not_stuck_after_its_failure_callback(database, workers, tmp_path):
    """RQ #2184: after `on_failure` a worker neither went on nor shut down."""
    workers.settings["ON_ERROR"] = HOOK
    called, written = tmp_path / "called", tmp_path / "written"
    options = {"metadata": {"path": str(called)}, "max_attempts": 1}
    failed = [enqueued(database, effects.fail_at_once, options=options) for _ in range(5)]
    others = [enqueued(database, effects.write, str(written)) for _ in range(5)]
    worker = workers.start("--drain", "--shutdown-timeout=1", f"--database={database}")
    assert worker.exit_code() == 0, worker.output
    assert len(lines(called)) == 1
    assert {stored(attempt).status for attempt in failed} == {"failed"}
    assert {stored(attempt).status for attempt in others} == {"succeeded"}

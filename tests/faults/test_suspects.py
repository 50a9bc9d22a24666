"""Guarantee 4: a suspect is performed alone, also under constant load."""

from __future__ import annotations

from datetime import timedelta

from async_attempts.calls import call, enqueue_many
from async_attempts.models import Worker
from tests.faults.fleet import processes, started, stopped
from tests.shop import effects, hazards
from tests.worker.helpers.attempts import enqueued, make_due, put, stored
from tests.worker.helpers.processes import lines, until

THREADS = 4
AT_LEAST_DUE = 40


def test_nothing_runs_beside_it_in_its_process_though_there_is_always_more_due(
    database, mortals, book
):
    suspects = [enqueued(database, hazards.leave_traces, book.path, 0.3) for _ in range(3)]
    for suspect in suspects:
        put(suspect, num_crashes=1)
    targets = [hazards.leave_traces, hazards.leave_traces_asynchronously]
    load = [call(target, book.path, 0.05).using(database=database) for target in targets]

    def all_suspects_are_done_under_load():
        running_out = len(book.traces("begun")) + AT_LEAST_DUE > enqueued_so_far[0]
        if running_out:
            enqueue_many(load * AT_LEAST_DUE)
            enqueued_so_far[0] += len(load) * AT_LEAST_DUE
        return all(stored(suspect).status == "succeeded" for suspect in suspects)

    enqueued_so_far = [0]
    worker = started(mortals, database, processes(database), f"--threads={THREADS}")
    until(all_suspects_are_done_under_load, worker)
    stopped(worker)

    lives = executions(book)
    assert len(lives) > len(suspects)
    for suspect in suspects:
        pid, begun, ended = lives.pop(suspect.pk)
        beside = [
            other
            for other, (others_pid, others_begun, others_ended) in lives.items()
            if others_pid == pid and others_begun < ended and others_ended > begun
        ]
        assert beside == []


def executions(book):
    """Of each attempt that was performed, the process, the begin and the end."""
    begun = {trace.attempt_id: trace for trace in book.traces("begun")}
    return {
        trace.attempt_id: (trace.pid, begun[trace.attempt_id].seconds, trace.seconds)
        for trace in book.traces("ended")
    }


def test_a_drain_performs_again_what_its_spare_child_died_of(database, mortals, tmp_path):
    began, go = tmp_path / "began", tmp_path / "go"
    fatal, now = tmp_path / "fatal", tmp_path / "now"
    slow = enqueued(database, effects.wait_for, str(began), str(go))
    later = {"scheduled_at": timedelta(hours=1)}
    suspect = enqueued(database, effects.wait_and_die, str(fatal), str(now), options=later)
    put(suspect, num_crashes=1)
    worker = started(mortals, database, "--drain", "--processes=1", "--threads=2")
    # Due before, it might be performed first, and nothing else beside it.
    until(lambda: lines(began), worker)
    make_due(suspect)
    until(lambda: lines(fatal), worker)
    (ordinary,) = Worker.objects.using(database).filter(pk=stored(slow).claimed_by)
    go.touch()
    until(lambda: ordinary.pid not in [child.pid for child in worker.children()], worker)
    now.touch()
    assert worker.exit_code() == 0, worker.output
    assert stored(slow).status == "succeeded"
    assert (stored(suspect).status, stored(suspect).num_crashes) == ("failed", 3)

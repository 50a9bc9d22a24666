"""What `run_attempts` is asked for on its command line."""

from __future__ import annotations

import re
import socket
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from async_attempts import Attempt, signals
from async_attempts.calls import call, enqueue_many
from async_attempts.management.commands.run_attempts import Command
from async_attempts.models import Worker
from tests.shop import effects
from tests.worker.helpers.attempts import drain, enqueued, put, raising, states, stored
from tests.worker.helpers.processes import lines, until


def performed_in_order() -> list[Any]:
    return [args[0] for _, args, _ in effects.seen]


def test_only_the_named_queues_are_served_the_first_of_them_first(database):
    for queue in ("default", "emails", "fulfilment"):
        enqueued(database, effects.record, queue, options={"queue": queue, "priority": 1})
        enqueued(database, effects.record, f"{queue} later", options={"queue": queue})
    drain(database, queues="fulfilment, default,fulfilment")
    assert performed_in_order() == ["fulfilment", "fulfilment later", "default", "default later"]
    assert Worker.objects.using(database).get().queues == ["fulfilment", "default"]


def test_without_names_all_declared_queues_are_served(database):
    for queue in ("default", "emails", "fulfilment"):
        enqueued(database, effects.record, queue, options={"queue": queue})
    drain(database)
    assert sorted(performed_in_order()) == ["default", "emails", "fulfilment"]


def test_the_highest_priority_is_performed_first_then_what_was_due_first(database):
    enqueued(database, effects.record, "first")
    enqueued(database, effects.record, "low", options={"priority": "low"})
    enqueued(database, effects.record, "high", options={"priority": 50})
    enqueued(database, effects.record, "second")
    drain(database)
    assert performed_in_order() == ["high", "first", "second", "low"]


@pytest.mark.parametrize("given", ["fulfillment", "", "default,", "emails,no such"])
def test_a_queue_that_is_not_declared_is_a_usage_error(database, given):
    enqueued(database, effects.record)
    with pytest.raises(CommandError, match="is not declared") as error:
        drain(database, queues=given)
    assert error.value.returncode == 2
    assert states(database) == ["pending"]


def test_a_misspelt_queue_is_recognized(database):
    with pytest.raises(CommandError, match="did you mean 'fulfilment'"):
        drain(database, queues="fulfillment")


def test_a_database_that_is_not_configured_is_a_usage_error():
    with pytest.raises(CommandError, match="'nowhere' is not in DATABASES") as error:
        drain("nowhere")
    assert error.value.returncode == 2


@pytest.mark.parametrize(
    "option",
    [
        "--poll-interval=0",
        "--poll-interval=-1",
        "--poll-interval=nan",
        "--poll-interval=soon",
        "--batch-size=0",
        "--batch-size=1.5",
        "--stop-after=0",
        "--stop-after=-1",
        "--processes=0",
        "--threads=0",
        "--async-tasks=0",
        "--shutdown-timeout=0",
        "--max-performs=0",
        "--max-memory-mb=0",
        "--max-seconds=0",
        "--health-port=0",
        "--health-port=65536",
    ],
)
def test_a_number_out_of_range_is_a_usage_error(option):
    with pytest.raises(CommandError, match=option.partition("=")[0]):
        call_command("run_attempts", option, "--drain")


@pytest.mark.only("sqlite", reason="the others have more than one writer")
def test_several_processes_on_sqlite_are_a_usage_error(database):
    with pytest.raises(CommandError, match=r"--processes: SQLite .* use 1, or another") as error:
        drain(database, processes=2)
    assert error.value.returncode == 2


@pytest.mark.only("postgresql", "mariadb", reason="SQLite has one process anyway")
@pytest.mark.parametrize(("option", "flag"), [("once", "--once"), ("stop_after", "--stop-aft")])
def test_what_can_not_be_shared_by_processes_is_a_usage_error(database, option, flag):
    with pytest.raises(CommandError, match=f"--processes: {flag}.* is for one process") as error:
        call_command("run_attempts", processes=2, database=database, **{option: 1})
    assert error.value.returncode == 2


@pytest.mark.parametrize("end", ["once", "drain"])
def test_reloading_what_ends_by_itself_is_a_usage_error(database, end):
    with pytest.raises(CommandError, match=r"--reload: not with --once or --drain") as error:
        call_command("run_attempts", reload=True, database=database, **{end: True})
    assert error.value.returncode == 2


@pytest.mark.parametrize(
    ("debug", "options", "reloads"),
    [
        (True, {}, True),
        (False, {}, False),
        (True, {"drain": True}, False),
        (True, {"once": True}, False),
        (True, {"reload": False}, False),
        (False, {"reload": True}, True),
    ],
)
def test_code_is_looked_after_with_debug_unless_the_work_ends(settings, debug, options, reloads):
    settings.DEBUG = debug
    given = {"reload": None, "drain": False, "once": False, **options}
    assert Command().reloads(given) is reloads


@pytest.mark.only("sqlite", reason="no database is asked")
def test_a_health_port_in_use_is_a_usage_error(database, workers):
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        worker = workers.start(f"--health-port={port}", f"--database={database}")
        assert worker.exit_code() == 2, worker.output
    assert re.search(rf"--health-port: .* port {port}: .* choose a free port", worker.output)
    assert not worker.group()


@pytest.mark.only("sqlite", reason="no database is asked")
def test_the_health_is_served_at_the_address_that_was_given(database, workers):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        flags = ["--health-host=127.0.0.1", f"--health-port={taken.getsockname()[1]}"]
        worker = workers.start(*flags, f"--database={database}")
        assert worker.exit_code() == 2, worker.output
    assert "--health-port: can't listen on 127.0.0.1, port" in worker.output


def test_a_health_host_without_a_port_is_a_usage_error():
    with pytest.raises(CommandError, match=r"--health-host: set --health-port, too") as error:
        call_command("run_attempts", "--health-host=127.0.0.1", "--drain")
    assert error.value.returncode == 2


def test_once_and_drain_exclude_each_other():
    with pytest.raises(CommandError, match="not allowed with"):
        call_command("run_attempts", "--drain", "--once")


def test_once_performs_one_claim(database):
    attempts = enqueue_many(call(effects.record, n).using(database=database) for n in range(5))
    call_command("run_attempts", once=True, batch_size=3, database=database, verbosity=0)
    assert performed_in_order() == [0, 1, 2]
    assert [stored(attempt).claim_seq for attempt in attempts] == [1, 1, 1, 0, 0]


def test_once_ends_though_nothing_is_due(database):
    call_command("run_attempts", once=True, database=database, verbosity=0)
    assert Worker.objects.using(database).get().state == "stopped"


def test_a_drain_performs_all_that_is_due_however_much(database):
    enqueue_many(call(effects.record, n).using(database=database) for n in range(1000))
    drain(database)
    assert performed_in_order() == list(range(1000))
    assert set(states(database)) == {"succeeded"}


def test_a_drain_performs_what_became_due_meanwhile(database, acting):
    def enqueue_another(left: int) -> None:
        effects.seen.append(("acted", (left,), {}))
        if left:
            enqueued(database, effects.act, left - 1)

    acting(enqueue_another)
    enqueued(database, effects.act, 3)
    drain(database)
    assert performed_in_order() == [3, 2, 1, 0]


def test_a_drain_leaves_what_is_due_in_the_future(database):
    attempt = Attempt.objects.using(database).create(
        target=effects.record, scheduled_at=stored(enqueued(database, effects.act)).created_at
    )
    put(attempt, status="scheduled", scheduled_at=attempt.created_at.replace(year=2100))
    drain(database)
    assert states(database) == ["succeeded", "scheduled"]
    assert effects.seen == []


def test_a_drain_ends_well_though_attempts_fail(database, acting):
    acting(raising(ValueError()))
    enqueued(database, effects.act)
    enqueued(database, effects.act, options={"max_attempts": 1})
    drain(database)
    assert states(database) == ["scheduled", "failed"]


def test_stop_after_ends_the_worker_after_so_many_executions(database):
    enqueue_many(call(effects.record, n).using(database=database) for n in range(5))
    call_command("run_attempts", stop_after=3, database=database, verbosity=0)
    assert performed_in_order() == [0, 1, 2]
    assert states(database) == ["succeeded"] * 3 + ["pending"] * 2


def test_stop_after_counts_executions_that_fail(database, acting):
    acting(raising(ValueError()))
    attempt = enqueued(database, effects.act_thrice)
    call_command("run_attempts", stop_after=2, database=database, verbosity=0)
    assert stored(attempt).num_attempts == 2


def test_a_claim_takes_no_more_than_the_batch_size(database):
    together = []

    def look(claim, **kwargs):
        running = Attempt.objects.using(database).running()
        together.append(running.count())

    signals.started.connect(look)
    try:
        enqueue_many(call(effects.record, n).using(database=database) for n in range(6))
        drain(database, batch_size=2)
    finally:
        signals.started.disconnect(look)
    assert len(together) == 6
    assert max(together) <= 2


def test_a_worker_has_a_row_with_its_name_while_it_lives(database, acting):
    rows: list[Worker] = []
    acting(lambda: rows.extend(Worker.objects.using(database).all()))
    enqueued(database, effects.act)
    drain(database, name="night shift", queues="default")
    (row,) = rows
    assert (row.name, row.state, row.queues) == ("night shift", "live", ["default"])
    assert row.lease > row.started_at
    assert Worker.objects.using(database).get().state == "stopped"


def test_an_idle_worker_finds_what_is_enqueued_later(database, workers, tmp_path):
    idle = workers.start("--poll-interval=0.05", f"--database={database}")
    until(Worker.objects.using(database).exists, idle)
    attempt = enqueued(database, effects.write, str(tmp_path / "ledger"))
    until(lambda: stored(attempt).status == "succeeded", idle)
    assert [line[1:3] for line in lines(tmp_path / "ledger")] == [["1", "1"]]

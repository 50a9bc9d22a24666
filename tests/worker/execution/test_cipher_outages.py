"""While a project's cipher can't be reached nothing dies, nothing is counted, nothing is lost."""

from __future__ import annotations

import logging
import os
import signal
from functools import partial
from io import StringIO
from itertools import pairwise
from pathlib import Path
from unittest import mock

import pytest
from django.core.management import CommandError, call_command

from async_attempts import Backoff, signals
from async_attempts.encryption import new_key
from async_attempts.exceptions import CipherUnavailable
from async_attempts.lifecycle import FailureKind, Released
from async_attempts.models import DatabaseNow, Failure
from async_attempts.store import Verdict, store_for
from async_attempts.worker.execution import missing_keys, outcomes
from async_attempts.worker.execution.missing_keys import MissingKeys
from async_attempts.worker.execution.runner import Runner
from async_attempts.worker.execution.timeouts import NoWatch
from async_attempts.worker.maintenance.schedule_ticks import ScheduleTicks
from async_attempts.worker.processes import reaper
from async_attempts.worker.processes.reaper import ChildExit
from async_attempts.worker.shared.shared_memory import now
from tests.shop import effects
from tests.shop.vault import Vault
from tests.store.rows import registered
from tests.worker.helpers.attempts import (
    drain,
    enqueued,
    failures,
    make_due,
    put,
    raising,
    states,
    stored,
)
from tests.worker.helpers.executing import drain_in_threads
from tests.worker.helpers.processes import lines, until

VAULT = "tests.shop.vault.Vault"
SECRET = "4111 1111 1111 1111"


class Outage(ConnectionError):
    """Its text names what nobody should read in a log."""


@pytest.fixture
def out_of_reach(settings, monkeypatch):
    """Says what of the cipher fails from now on: "encrypt", "decrypt", both, or neither."""
    settings.ASYNC_ATTEMPTS = {**settings.ASYNC_ATTEMPTS, "CIPHER": VAULT}

    def out_of_reach(*what: str) -> None:
        def reach(wanted: str) -> None:
            if wanted in what:
                raise Outage(SECRET)

        monkeypatch.setattr(Vault, "reach", staticmethod(reach))

    out_of_reach()
    return out_of_reach


@pytest.fixture
def moment(monkeypatch):
    """The time by which attempts are put off."""
    moment = [1000.0]
    monkeypatch.setattr(missing_keys, "now", lambda: moment[0])
    return moment


@pytest.mark.parametrize("perform", [drain, drain_in_threads])
def test_what_cannot_be_opened_now_is_put_off_and_never_counted(
    database, out_of_reach, caplog, perform
):
    options = {"max_attempts": 1}
    attempts = [enqueued(database, effects.record, n, options=options) for n in range(3)]
    out_of_reach("encrypt", "decrypt")
    perform(database)
    for attempt in attempts:
        found = stored(attempt)
        assert (found.state, found.num_attempts) == ("scheduled", 0)
        assert found.reason == "could not be opened: Outage"
        assert not failures(attempt)
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "could not be opened: Outage" in warnings[0]
    assert SECRET not in caplog.text
    out_of_reach()
    for attempt in attempts:
        make_due(attempt)
    perform(database)
    assert states(database) == ["succeeded"] * 3
    assert {stored(attempt).reason for attempt in attempts} == {""}


def test_it_is_put_off_ever_longer_and_from_the_beginning_after_a_while(moment):
    keys, claim = MissingKeys(), mock.Mock()
    error = CipherUnavailable("no", "Outage")
    delays = []
    for _ in range(8):
        first, second = keys.put_off(claim, error), keys.put_off(claim, error)
        assert first == second
        delays.append(first.delay)
        moment[0] += first.delay
    bounds = [2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]
    assert all(b / 2 <= delay <= b for delay, b in zip(delays, bounds, strict=True))
    moment[0] += 3600
    assert keys.put_off(claim, error).delay <= 2


@pytest.mark.parametrize("perform", [drain, drain_in_threads])
@pytest.mark.parametrize("target", ["act", "act_atomically", "act_asynchronously"])
def test_a_failure_that_cannot_be_sealed_is_recorded_without_its_details(
    database, acting, out_of_reach, perform, target
):
    async def act_asynchronously():
        raise ValueError(SECRET)

    acting(act_asynchronously if "async" in target else raising(ValueError(SECRET)))
    attempt = enqueued(database, getattr(effects, target))
    neighbour = enqueued(database, effects.record)
    out_of_reach("encrypt")
    perform(database)
    assert stored(attempt).state == "scheduled"
    (failure,) = failures(attempt)
    assert (failure.error_class, failure.message) == (
        "ValueError",
        "(could not be sealed: Outage)",
    )
    assert failure.traceback == ""
    assert stored(neighbour).status == "succeeded"


def test_a_failure_that_cannot_be_opened_says_so_instead_of_its_message(
    database, acting, out_of_reach
):
    acting(raising(ValueError(SECRET)))
    attempt = enqueued(database, effects.act)
    drain(database)
    out_of_reach("decrypt")
    (failure,) = failures(attempt)
    assert failure.message.endswith("can't be opened now: Outage)")
    assert SECRET not in failure.message


def test_a_cipher_that_waits_in_vain_is_not_asked_for_each_of_many_failures(
    database, out_of_reach, monkeypatch
):
    store = store_for(database)
    dead = registered(store)
    attempts = [enqueued(database, effects.record) for _ in range(20)]
    for attempt in attempts:
        put(attempt, claimed_by=dead.pk, num_attempts=1, started_at=DatabaseNow())
    asked = []
    clock = [0.0]

    def reach(_):
        asked.append(1)
        clock[0] += 30
        raise Outage

    monkeypatch.setattr(Vault, "reach", staticmethod(reach))
    monkeypatch.setattr("async_attempts.models.failure.monotonic", lambda: clock[0])
    monkeypatch.setattr("async_attempts.models.failure._sealing._try_again_at", 0.0)
    rescue = store.workers.reap(dead.pk, lambda _: Verdict(FailureKind.CRASH, "it was lost"))
    assert rescue is not None
    assert len(rescue.attempt_ids) == 20
    assert len(asked) == 1
    kinds = Failure.objects.using(database).values_list("kind", flat=True)
    assert list(kinds) == ["crash"] * 20


def test_a_result_is_sealed_when_the_cipher_is_back(database, acting, out_of_reach, monkeypatch):
    tries = []

    def reach(_):
        tries.append(1)
        if len(tries) < 3:
            raise Outage

    def act():
        monkeypatch.setattr(Vault, "reach", staticmethod(reach))
        effects.seen.append(("once", (), {}))
        return 7

    acting(act)
    attempt = enqueued(database, effects.act, options={"keep_result": True})
    drain(database)
    assert stored(attempt).stored_result == 7
    assert effects.seen == [("once", (), {})]


@pytest.mark.parametrize(
    "case",
    [("act", "failed"), ("act_asynchronously", "failed"), ("act_atomically", "scheduled")],
)
def test_a_result_that_cannot_be_sealed_is_no_reason_to_repeat_its_effects(
    database, acting, out_of_reach, monkeypatch, case
):
    target, state = case

    async def act_asynchronously():
        return 7

    monkeypatch.setattr(outcomes, "SEALING_SECONDS", 0.1)
    acting(act_asynchronously if "async" in target else lambda: 7)
    attempt = enqueued(database, getattr(effects, target), options={"keep_result": True})
    out_of_reach("encrypt")
    drain_in_threads(database)
    found = stored(attempt)
    assert (found.state, found.num_attempts) == (state, 1)
    (failure,) = failures(attempt)
    assert failure.error_class == "async_attempts.exceptions.ResultNotSealed"
    if state == "failed":
        assert found.reason == "the target returned, but its result could not be sealed: Outage"


@pytest.mark.parametrize("perform", [drain, drain_in_threads])
@pytest.mark.parametrize("broken", [SystemExit(1), KeyboardInterrupt(), RuntimeError(SECRET)])
def test_whatever_is_raised_around_a_target_ends_no_performer(
    database, monkeypatch, caplog, perform, broken
):
    attempts = [enqueued(database, effects.record, n) for n in range(3)]

    def send_robust(sender, claim):
        if claim.id == attempts[1].pk:
            raise broken

    monkeypatch.setattr(signals.started, "receivers", [object()])
    monkeypatch.setattr(signals.started, "send_robust", send_robust)
    perform(database)
    assert states(database) == ["succeeded", "scheduled", "succeeded"]
    assert (stored(attempts[1]).num_attempts, failures(attempts[1])) == (0, [])
    assert f"raised {type(broken).__name__} in the worker itself" in caplog.text
    assert SECRET not in caplog.text


class Alive:
    holds_until = float("inf")


def test_a_performer_always_gives_an_execution_back(database, monkeypatch):
    store = store_for(database)
    enqueued(database, effects.record)
    (claim,) = store.claims.claim(registered(store).pk, ["default"], 1)
    monkeypatch.setattr(signals.started, "receivers", [object()])
    monkeypatch.setattr(signals.started, "send_robust", raising(RuntimeError(SECRET)))
    execution = Runner(store, Alive(), NoWatch()).perform(claim)
    assert execution is not None
    assert isinstance(execution.outcome, Released)
    assert execution.outcome.delay > 0
    assert effects.seen == []


def test_schedules_are_declared_when_the_cipher_is_back(database, out_of_reach, caplog):
    store = store_for(database)
    out_of_reach("encrypt", "decrypt")
    declare = mock.patch(
        "async_attempts.worker.maintenance.schedule_ticks.declare", side_effect=Outage(SECRET)
    )
    with declare:
        assert not ScheduleTicks(store).tick(None)
    assert "schedules can't be declared" in caplog.text
    assert SECRET not in caplog.text


def test_rotating_keys_stops_with_the_reason_and_passes_over_what_is_not_sealed(
    database, acting, out_of_reach, settings
):
    acting(raising(ValueError("no")))
    enqueued(database, effects.act)
    out_of_reach("encrypt")
    drain(database)
    new = new_key()
    keys = [new, *settings.ASYNC_ATTEMPTS["KEYS"]]
    settings.ASYNC_ATTEMPTS = {**settings.ASYNC_ATTEMPTS, "KEYS": keys}
    with pytest.raises(CommandError, match=r"now: Outage\. What was sealed again stays so"):
        call_command("attempts", "rotate-keys", database=database, stdout=StringIO())
    out_of_reach()
    call_command("attempts", "rotate-keys", database=database, stdout=StringIO())
    assert Failure.objects.using(database).get().message == "(could not be sealed: Outage)"


def go_out_of_reach(outage: Path) -> None:
    patience = missing_keys.Patience(Backoff.exponential(0.2, cap=1.0), silence=60.0)
    mock.patch.object(missing_keys, "FOR_THE_CIPHER", patience).start()

    def reach(_: str) -> None:
        if outage.exists():
            with outage.open("a") as file:
                file.write(f"{os.getpid()}\n")
            raise Outage

    mock.patch.object(Vault, "reach", staticmethod(reach)).start()


@pytest.mark.slow
def test_no_child_dies_of_it_and_all_is_performed_once_it_is_back(
    database, workers, tmp_path, out_of_reach
):
    attempts = [enqueued(database, effects.act_thrice) for _ in range(20)]
    workers.settings["CIPHER"] = VAULT
    outage = tmp_path / "outage"
    outage.touch()
    prepare = partial(go_out_of_reach, outage)
    worker = workers.start("--poll-interval=0.1", f"--database={database}", prepare=prepare)
    # Some of them again; after a while they are put off together, and only one of them asks.
    until(lambda: len(lines(outage)) > len(attempts), worker)
    assert len({pid for (pid,) in lines(outage)}) == 1
    outage.unlink()
    until(lambda: set(states(database)) == {"succeeded"}, worker)
    worker.signal(signal.SIGTERM)
    assert worker.exit_code() == 0, worker.output
    assert {stored(attempt).num_attempts for attempt in attempts} == {1}
    assert worker.output.count("could not be opened") < 5


def fail_to_reap(failed: Path, times: int) -> None:
    def reap(database: str, child_exit: ChildExit) -> int:
        if len(lines(failed)) >= times:
            return reaper.reap(database, child_exit)
        with failed.open("a") as file:
            file.write(f"{now()}\n")
        return 1

    mock.patch("async_attempts.worker.processes.supervisor.reap", reap).start()


@pytest.mark.slow
@pytest.mark.only("sqlite", reason="nothing is asked of the database")
def test_a_reaper_that_fails_is_tried_again_ever_later(database, workers, tmp_path):
    failed = tmp_path / "failed"
    enqueued(database, effects.write_and_die, str(tmp_path / "path"), 1)
    worker = workers.start(
        "--drain", f"--database={database}", prepare=partial(fail_to_reap, failed, 5)
    )
    assert worker.exit_code() == 0, worker.output
    moments = [float(moment) for (moment,) in lines(failed)]
    pauses = [later - sooner for sooner, later in pairwise(moments)]
    assert all(
        pause >= least for pause, least in zip(pauses, [0.05, 0.1, 0.2, 0.4], strict=True)
    ), pauses

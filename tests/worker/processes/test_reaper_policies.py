"""What a dead child's attempts may do next is their targets' to say, if the rows are authentic."""

from __future__ import annotations

import sys
from datetime import timedelta
from uuid import uuid4

import pytest
from django.utils import timezone

from async_attempts import Attempt, call
from async_attempts.store import store_for
from async_attempts.targets import decorator, target
from async_attempts.worker.execution.announcer import AtOnce
from async_attempts.worker.processes import reaper
from async_attempts.worker.processes.reaper import ChildExit, _take_back
from async_attempts.worker.shared.shared_memory import Begun
from tests.shop import clients, hazards


def ignored_its_timeout(database, function, *arguments, **columns):
    """An attempt that was claimed by a worker which had to be killed for it, taken back."""
    attempt = call(function, *arguments).using(database=database).enqueue()
    store = store_for(database)
    lease = timezone.now() + timedelta(hours=1)
    worker = store.workers.create(host="web-1", pid=7, lease=lease)
    [claim] = store.claim(worker.pk, [attempt.queue], 1)
    rows = Attempt._base_manager.using(database).filter(pk=attempt.pk)
    rows.update(**columns)
    begun = (Begun(claim.id, claim.claim_seq, 0.0),)
    child_exit = ChildExit(worker.pk, "killed", begun, frozenset({claim.id}))
    assert _take_back(store, child_exit, AtOnce()) == 0
    return rows.get()


@pytest.fixture
def _unknown_here(monkeypatch):
    """As in a supervisor: its children alone have imported the targets."""
    monkeypatch.setattr(decorator, "_policies", {})
    monkeypatch.setattr(target, "_targets", {})


@pytest.mark.usefixtures("_unknown_here")
def test_a_target_that_only_the_child_knew_says_how_often_it_is_retried(database):
    attempt = ignored_its_timeout(database, hazards.leave_traces, "path")
    # Its backoff is no pause at all.
    assert (attempt.status, attempt.error_class) == ("pending", "AttemptTimeout")


@pytest.mark.usefixtures("_unknown_here")
@pytest.mark.parametrize("name", ["tests.shop.exiting", "tests.shop.never_imported"])
def test_a_name_that_somebody_wrote_into_the_row_is_not_imported(database, name):
    written = {"target": name, "method_name": "run"}
    attempt = ignored_its_timeout(database, clients.send_welcome, 1, **written)
    assert attempt.status == "scheduled"
    assert name not in sys.modules


@pytest.mark.usefixtures("_unknown_here")
def test_arguments_that_do_not_open_keep_nothing_from_being_taken_back(database):
    attempt = ignored_its_timeout(database, clients.send_welcome, 1, args=uuid4().bytes)
    assert attempt.status == "scheduled"


@pytest.mark.usefixtures("_unknown_here")
def test_arguments_over_the_limit_are_not_fetched(database, monkeypatch):
    opened = []
    monkeypatch.setattr(reaper, "open_sealed", lambda *given: opened.append(given))
    attempt = ignored_its_timeout(database, clients.send_welcome, 1, args=bytes(3_000_000))
    assert (attempt.status, opened) == ("scheduled", [])


def test_a_known_target_is_asked_without_opening_anything(database):
    attempt = ignored_its_timeout(database, hazards.leave_traces, "path", args=b"\x01 altered")
    assert attempt.status == "pending"

"""`manage.py attempts prune`: what isn't to be kept is deleted at once, and counted."""

from __future__ import annotations

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import IntegrityError
from django.test import override_settings

from async_attempts import Attempt, call
from async_attempts.management.commands import _pruning
from async_attempts.store.expressions import seconds_from_now
from async_attempts.store.retention import Retention
from tests.shop import clients

DAY = 86_400
EVERYTHING = {"succeeded", "failed", "expired"}


@pytest.fixture
def ended(database):
    """One of each final status and each of two queues, that ended two days ago."""
    for status in sorted(EVERYTHING):
        for queue in ("default", "emails"):
            made = call(clients.greet, 1).using(database=database, queue=queue).enqueue()
            rows = Attempt.objects.using(database).filter(pk=made.pk)
            rows.update(status=status, completed_at=seconds_from_now(-2 * DAY))
    call(clients.greet, 1).using(database=database).enqueue()
    return database


@pytest.fixture
def prune(ended, capsys):
    def prune(*arguments):
        call_command("attempts", "prune", *arguments, f"--database={ended}")
        return capsys.readouterr().out.strip()

    return prune


def left(database):
    rows = Attempt.objects.using(database).exclude(status="pending")
    return sorted(rows.values_list("status", "queue"))


def keeping(keep, **by_queue):
    queues = {"default": {}, "emails": {}, "fulfilment": {}} | by_queue
    return override_settings(
        ASYNC_ATTEMPTS=settings.ASYNC_ATTEMPTS | {"KEEP": keep, "QUEUES": queues}
    )


def test_what_the_settings_keep_is_kept(ended, prune):
    assert prune() == "0 attempts were deleted."
    with keeping({"succeeded": DAY}, emails={"keep": {"expired": DAY}}):
        assert prune() == "3 attempts were deleted."
    assert left(ended) == [("expired", "default"), ("failed", "default"), ("failed", "emails")]


def test_a_dry_run_only_counts(ended, prune):
    with keeping({"succeeded": DAY}):
        assert prune("--dry-run") == "2 attempts would be deleted."
    assert len(left(ended)) == 6


def test_an_age_goes_for_all_that_is_not_kept_for_ever(ended, prune):
    assert prune("--older-than", "3d") == "0 attempts were deleted."
    assert prune("--older-than", "36h") == "4 attempts were deleted."
    assert left(ended) == [("failed", "default"), ("failed", "emails")]


def test_what_is_kept_for_ever_has_to_be_named(ended, prune):
    told = prune("--older-than", "1d", "--status", "failed", "--queue", "emails")
    assert told == "1 attempts were deleted."
    assert ("failed", "emails") not in left(ended)
    assert len(left(ended)) == 5


def test_queues_and_statuses_narrow_it_down(ended, prune):
    given = ("--older-than", "1d", "--queue", "emails", "--status", "expired", "--status", "failed")
    assert prune(*given) == "2 attempts were deleted."
    assert left(ended) == [
        ("expired", "default"),
        ("failed", "default"),
        ("succeeded", "default"),
        ("succeeded", "emails"),
    ]


def test_a_queue_that_is_not_declared_any_more_may_be_pruned(ended, prune, capsys):
    Attempt.objects.using(ended).filter(queue="emails").update(queue="letters")
    call_command("attempts", "prune", "--queue=letters", "--older-than=1d", database=ended)
    told = capsys.readouterr()
    assert told.out.strip() == "2 attempts were deleted."
    assert "'letters' is not declared" in told.err


@pytest.mark.parametrize("age", ["30", "d", "-1d", "1y", "1e3d", "40000d", "9" * 400 + "d"])
def test_an_age_has_a_unit(age):
    with pytest.raises(CommandError, match="--older-than"):
        call_command("attempts", "prune", f"--older-than={age}")


def test_it_tells_how_far_it_has_come(ended, prune, monkeypatch):
    monkeypatch.setattr(_pruning, "TELL_EVERY", -1.0)
    monkeypatch.setattr("async_attempts.worker.maintenance.pruning.FIRST_PRUNED", 4)
    monkeypatch.setattr("async_attempts.worker.maintenance.pruning.MOST_PRUNED", 4)
    told = prune("--older-than", "1d").splitlines()
    assert told[0].endswith("so far")
    assert told[-1] == "4 attempts were deleted."


def test_what_a_projects_rows_keep_from_being_deleted_is_told(database, monkeypatch):
    def refuse(*args, **kwargs):
        raise IntegrityError("a shop's row refers to it")

    monkeypatch.setattr(Retention, "prune", refuse)
    with pytest.raises(CommandError, match="refer to attempts"):
        call_command("attempts", "prune", database=database)

"""The workers in the admin: one whose lease is over is lost, whatever its row says."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from async_attempts import Attempt, stats
from async_attempts.models import Failure, Worker
from async_attempts.store import store_for
from tests.roof.admin_pages import OneDatabase, attempt_in, operator, page_of

WORKERS = "/admin/async_attempts/worker/"
STATES = {
    "live": "live",
    "lost": "lost since",
    "stopped": "stopped",
    "dead": "dead, its attempts are being taken back",
    "rescued": "dead, its attempts were taken back",
}


@pytest.fixture
def workers(database, settings):
    """One in each state, by the state's name, which is its host's, too."""
    settings.DATABASE_ROUTERS = [OneDatabase(database)]
    now = store_for(database).database.now()
    made = {}
    for state in STATES:
        until = timedelta(minutes=1 if state == "live" else -1)
        made[state] = Worker.objects.create(
            host=f"host-{state}",
            pid=7,
            queues=["emails"],
            lease=now + until,
            state="live" if state == "lost" else state,
        )
    return made


def listed(**parameters):
    return {row.host for row in operator().get(WORKERS, parameters).context["cl"].result_list}


def test_a_worker_whose_lease_is_over_is_lost_and_not_live(workers):
    text = operator().get(WORKERS).content.decode()
    for said in STATES.values():
        assert text.count(f'<td class="field-standing">{said}') == 1
    assert listed() == {f"host-{state}" for state in STATES}


@pytest.mark.parametrize("state", STATES)
def test_the_filter_tells_the_lost_from_the_live(workers, state):
    assert listed(state=state) == {f"host-{state}"}


def test_an_unknown_state_is_refused(workers):
    assert operator().get(WORKERS, {"state": "tired"})["Location"] == f"{WORKERS}?e=1"


@pytest.mark.parametrize("state", STATES)
def test_the_page_of_a_worker_says_so_too(workers, state):
    page = operator().get(f"{WORKERS}{workers[state].pk}/change/")
    assert STATES[state] in page.content.decode()


@pytest.mark.parametrize("state", STATES)
def test_the_page_of_an_attempt_says_what_became_of_its_worker(workers, state):
    worker = workers[state]
    attempt = attempt_in("running")
    Attempt.objects.update(claimed_by=worker.pk)
    link = f'<a href="{WORKERS}{worker.pk}/change/">host-{state}:7</a>'
    after = "</div>" if state == "live" else f", {STATES[state]}"
    assert f"{link}{after}" in operator().get(page_of(attempt)).content.decode()


def test_the_page_of_a_failure_says_what_became_of_its_worker(workers):
    failure = Failure.objects.create(
        attempt=attempt_in("failed"),
        number=1,
        kind="lease",
        error_class="WorkerLost",
        details=b"",
        failed_at=timezone.now(),
        worker=workers["lost"].pk,
    )
    page = operator().get(f"/admin/async_attempts/failure/{failure.pk}/change/")
    assert "host-lost:7</a>, lost since" in page.content.decode()


def test_the_figures_count_who_holds_a_lease(workers, database):
    assert stats(database=database).workers == 1

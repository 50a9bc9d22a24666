"""The sentence on an attempt's page that says why it is in its state, and what happens next.

The tables go through the states, and through the circumstances that change what happens next.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from async_attempts import Attempt
from async_attempts.admin import explanation
from async_attempts.admin.display import spoken
from async_attempts.models import Queue, Worker
from async_attempts.queues import pause_queue, resume_queue
from async_attempts.store import store_for
from tests.roof.admin_pages import OneDatabase, attempt_in, operator, page_of

THEN = datetime(2020, 2, 1, 12, tzinfo=UTC)
SOON = datetime(2100, 2, 1, 12, tzinfo=UTC)
PROMISE = {
    "target": "tests.shop.clients.OrderClient",
    "method_name": "fulfill",
    "queue": "emails",
    "scheduled_at": THEN,
}
WORKER = UUID(int=7)
CLAIMED = {"claimed_by": WORKER, "started_at": THEN, "num_attempts": 1}
QUEUES = {
    "default": {},
    "emails": {},
    "narrow": {"concurrency": 2},
    "slow": {"rate": "1/h"},
    "held": {"paused": True},
}

DUE = "execution 1 of 10 has been due since then"
LATER = "execution 1 of 10 is due soon"
BEGAN = "execution 1 of 10 was claimed then"
ONE = "for 1 prerequisite, and goes on when that has ended as it needs"
NO_WORKER = "no worker is live: it begins when one of the queue emails is started"
OTHER_ONLY = (
    "the live worker doesn't serve the queue emails: it begins when one is started that does"
)
OTHERS_ONLY = (
    "none of the 2 live workers serves the queue emails: it begins when one is started that does"
)
PAUSED = "its queue emails is paused: it begins after somebody resumes that"
WAITS = "it waits for the worker of the queue emails"
LOST = "its worker web-1:7 has been lost since then"
CRASH = "that counts as a crash, after which it is performed alone"
KEY = "sealed with key 0a1b2c3d, which this worker doesn't have"


@pytest.fixture
def on_database(database, settings):
    settings.DATABASE_ROUTERS = [OneDatabase(database)]
    return database


@pytest.fixture(autouse=True)
def _configured(settings):
    settings.ASYNC_ATTEMPTS = settings.ASYNC_ATTEMPTS | {"QUEUES": QUEUES, "LEASE": 30}


@pytest.fixture(autouse=True)
def _undated(monkeypatch):
    def said(moment):
        return {THEN: "then", SOON: "soon"}.get(moment, "never")

    monkeypatch.setattr(explanation, "spoken", said)


def worker_of(*queues, lease=SOON, started_at=THEN, **columns):
    new = Worker.objects.create(host="web-1", pid=7, queues=queues, lease=lease, **columns)
    Worker.objects.filter(pk=new.pk).update(started_at=started_at)
    return new


def explained(state, **columns):
    """The sentence behind the state's name."""
    status = "pending" if state == "running" else state
    attempt = Attempt(**PROMISE | columns, status=status)
    name, sentence = explanation.explain(attempt).split(": ", 1)
    assert name == state
    return sentence


@pytest.mark.parametrize(
    ("state", "columns", "sentence"),
    [
        ("scheduled", {"scheduled_at": SOON}, LATER),
        ("scheduled", {}, DUE),
        (
            "scheduled",
            {"scheduled_at": SOON, "num_attempts": 2, "error_class": "TimeoutError"},
            "execution 3 of 10 is due soon; last error TimeoutError",
        ),
        (
            "scheduled",
            {"scheduled_at": SOON, "reason": KEY},
            (
                f"{LATER}; put off: {KEY}; it begins with a worker that has this key; the others "
                "put it off again, uncounted"
            ),
        ),
        (
            "scheduled",
            {"scheduled_at": SOON, "reason": "the API is down"},
            f"{LATER}; put off: the API is down",
        ),
        (
            "scheduled",
            {"scheduled_at": SOON, "reason": "The API is down. Ask them. "},
            f"{LATER}; put off: The API is down. Ask them",
        ),
        ("scheduled", {"scheduled_at": SOON, "reason": "."}, LATER),
        ("pending", {}, f"{DUE}; {WAITS}"),
        ("pending", {"scheduled_at": SOON}, f"{LATER}; {WAITS}"),
        (
            "pending",
            {"num_crashes": 1},
            f"{DUE}; it was in hand when a worker died, so it is performed alone; {WAITS}",
        ),
        (
            "pending",
            {"num_crashes": 2},
            f"{DUE}; it was in hand when 2 workers died, so it is performed alone; {WAITS}",
        ),
        ("pending", {"expires_at": SOON}, f"{DUE}; {WAITS}; it expires soon unless it has begun"),
        (
            "pending",
            {"expires_at": THEN},
            f"{DUE}; it expires instead: it was to begin before then",
        ),
        ("waiting", {"blockers": 1}, ONE),
        (
            "waiting",
            {"blockers": 2},
            "for 2 prerequisites, and goes on when they have ended as it needs",
        ),
        (
            "waiting",
            {"limit_key": "customer-7"},
            (
                "for a free slot of its limit customer-7, and goes on when the one that holds it "
                "has ended"
            ),
        ),
        (
            "waiting",
            {"limit_key": "customer-7", "concurrency": 3},
            (
                "for a free slot of its limit customer-7, and goes on when one of the 3 that hold "
                "them has ended"
            ),
        ),
        (
            "succeeded",
            {"num_attempts": 2, "error_class": "TimeoutError", "completed_at": THEN},
            "execution 2 of 10 ended then",
        ),
        (
            "failed",
            {
                "reason": "attempts exhausted",
                "error_class": "TimeoutError",
                "num_crashes": 3,
                "completed_at": THEN,
            },
            (
                "attempts exhausted; ended then; last error TimeoutError; it runs again only if "
                "somebody retries it"
            ),
        ),
        (
            "failed",
            {"reason": "No such customer.", "completed_at": THEN},
            "No such customer; ended then; it runs again only if somebody retries it",
        ),
        (
            "expired",
            {"completed_at": THEN},
            "no reason was given; ended then; it runs again only if somebody retries it",
        ),
    ],
)
def test_while_a_worker_serves_its_queue(db, state, columns, sentence):
    worker_of("emails")
    assert explained(state, **columns) == sentence


def test_it_waits_for_one_of_several_workers(db):
    for queues in (["emails"], ["default", "emails"], ["default"]):
        worker_of(*queues)
    assert explained("pending") == f"{DUE}; it waits for one of the 2 workers of the queue emails"


HEALTHY: dict[str, tuple[dict[str, Any], str, str | None]] = {
    "scheduled": ({"scheduled_at": SOON}, LATER, None),
    "pending": ({}, DUE, WAITS),
    "waiting": ({"blockers": 1}, ONE, None),
}
WORKERS = {
    "none": ([], NO_WORKER),
    "another": ([["default"]], OTHER_ONLY),
    "others": ([["default"], ["default"]], OTHERS_ONLY),
    "its own": ([["emails"]], None),
}


@pytest.mark.parametrize("state", HEALTHY)
@pytest.mark.parametrize("is_paused", [True, False])
@pytest.mark.parametrize("workers", WORKERS)
def test_what_holds_up_what_has_not_begun(db, state, is_paused, workers):
    columns, sentence, otherwise = HEALTHY[state]
    others, why = WORKERS[workers]
    # Their leases are over, or they have ended: they serve nothing.
    worker_of("emails", lease=THEN)
    for ended in ("stopped", "dead", "rescued"):
        worker_of("emails", state=ended)
    for queues in others:
        worker_of(*queues)
    if is_paused:
        pause_queue("emails")
    held_up = [clause for clause in (is_paused and PAUSED, why) if clause]
    clauses = [sentence, *(held_up or filter(None, [otherwise]))]
    assert explained(state, **columns) == "; ".join(clauses)


def test_what_is_asked_of_each_database(on_database):
    assert explained("pending") == f"{DUE}; {NO_WORKER}"
    worker_of("default")
    assert explained("pending") == f"{DUE}; {OTHER_ONLY}"
    lost = worker_of("emails", id=WORKER)
    assert explained("pending") == f"{DUE}; {WAITS}"
    assert explained("running", **CLAIMED) == BEGAN
    Worker.objects.filter(pk=lost.pk).update(lease=THEN)
    assert explained("pending") == f"{DUE}; {OTHER_ONLY}"
    assert LOST in explained("running", **CLAIMED)
    pause_queue("emails")
    assert explained("pending") == f"{DUE}; {PAUSED}; {OTHER_ONLY}"


def test_a_queue_that_the_settings_pause_and_people_resume(on_database):
    worker_of("held")
    paused = "its queue held is paused: it begins after somebody resumes that"
    assert explained("pending", queue="held") == f"{DUE}; {paused}"
    resume_queue("held")
    waits = "it waits for the worker of the queue held"
    assert explained("pending", queue="held") == f"{DUE}; {waits}"


def test_a_queue_that_is_not_declared_any_more(on_database):
    worker_of("emails")
    gone = "its queue gone isn't declared in the settings, so no worker serves it"
    assert explained("pending", queue="gone") == f"{DUE}; {gone}"
    # A worker of an older release.
    worker_of("gone")
    waits = "it waits for the worker of the queue gone"
    assert explained("pending", queue="gone") == f"{DUE}; {waits}"


def test_a_queue_at_its_concurrency(on_database):
    worker = worker_of("narrow")
    for _ in range(3):
        attempt_in("pending", queue="narrow")
    waits = f"{DUE}; it waits for the worker of the queue narrow"
    assert explained("pending", queue="narrow") == waits
    claims = store_for(on_database).claims.claim(worker.pk, ["narrow"], 10)
    assert len(claims) == 2
    assert explained("pending", queue="narrow") == (
        f"{DUE}; its queue narrow lets 2 run at once: it begins after one of them has ended"
    )
    assert explained("scheduled", queue="narrow", scheduled_at=SOON) == LATER
    Attempt.objects.filter(pk=claims[0].id).update(claimed_by=None)
    assert explained("pending", queue="narrow") == waits


def test_a_queue_whose_rate_is_used_up(on_database):
    worker = worker_of("slow")
    for _ in range(2):
        attempt_in("pending", queue="slow")
    waits = "it waits for the worker of the queue slow"
    assert explained("pending", queue="slow") == f"{DUE}; {waits}"
    assert len(store_for(on_database).claims.claim(worker.pk, ["slow"], 10)) == 1
    left = Queue.objects.get(pk="slow").tokens
    said = explained("pending", queue="slow")
    assert said.startswith(f"{DUE}; its queue slow begins 1/h: the next one in 3")
    # The question took no token.
    assert Queue.objects.get(pk="slow").tokens == left


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({}, BEGAN),
        ({"cancel_requested": True}, f"{BEGAN}; it was asked to stop"),
        # What put it off before is over.
        ({"reason": KEY}, BEGAN),
    ],
)
def test_while_its_worker_is_live(db, columns, sentence):
    worker_of("emails", id=WORKER)
    assert explained("running", **CLAIMED | columns) == sentence


@pytest.mark.parametrize(
    ("columns", "then"),
    [
        ({}, CRASH),
        ({"num_crashes": 1}, CRASH),
        ({"num_crashes": 2}, "then it fails: that is crash 3 of 3"),
        ({"cancel_requested": True}, "then it expires, since it was asked to stop"),
    ],
)
def test_after_its_worker_is_lost(db, columns, then):
    worker_of("emails", id=WORKER, lease=THEN)
    said = explained("running", **CLAIMED | columns)
    assert said.startswith(BEGAN)
    assert said.endswith(
        f"; {LOST}; no worker is live: one that is started takes it back within 25 s; {then}"
    )


@pytest.mark.parametrize(
    ("lost_for", "live_for", "taken_back"),
    [
        (5, 60, "a live worker takes it back within 20 s"),
        (60, 5, "a live worker takes it back within 20 s"),
        (60, 60, "a live worker should have taken it back by now: see the workers' logs"),
    ],
)
def test_when_a_live_worker_takes_it_back(on_database, monkeypatch, lost_for, live_for, taken_back):
    now = timezone.now()
    monkeypatch.setattr(explanation.Circumstances, "now", now)
    worker_of("emails", id=WORKER, lease=now - timedelta(seconds=lost_for))
    worker_of("default", started_at=now - timedelta(seconds=live_for))
    assert explained("running", **CLAIMED) == (
        f"{BEGAN}; its worker web-1:7 has been lost since never; {taken_back}; {CRASH}"
    )


@pytest.mark.parametrize("with_live", [True, False])
@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("stopped", "its worker web-1:7 is stopped"),
        ("dead", "its worker web-1:7 is dead, its attempts are being taken back"),
        ("rescued", "its worker web-1:7 is dead, its attempts were taken back"),
        (None, "its worker is gone"),
    ],
)
def test_after_its_worker_has_ended(db, state, said, with_live):
    if state:
        worker_of("emails", id=WORKER, state=state)
    if with_live:
        worker_of("default")
    taken_back = (
        "a live worker takes it back"
        if with_live
        else "no worker is live: one that is started takes it back within 25 s"
    )
    assert explained("running", **CLAIMED) == f"{BEGAN}; {said}; {taken_back}"


def test_what_has_ended_costs_no_question(on_database):
    with CaptureQueriesContext(connections[on_database]) as asked:
        for state in ("succeeded", "failed", "expired"):
            explained(state, completed_at=THEN)
    assert not asked.captured_queries


def test_the_page_reads_the_attempt_once(on_database):
    worker_of("emails")
    attempt = attempt_in("pending", queue="emails")
    client = operator()
    with CaptureQueriesContext(connections[on_database]) as asked:
        assert client.get(page_of(attempt)).status_code == 200
    bare = [query["sql"].replace('"', "").replace("`", "") for query in asked]
    assert len([sql for sql in bare if f"FROM {Attempt._meta.db_table} " in sql]) == 1


def test_what_somebody_wrote_as_the_queues_of_a_worker_breaks_no_page(db):
    for queues in (7, {"emails": 1}, [1, None], "emails"):
        new = worker_of()
        Worker.objects.filter(pk=new.pk).update(queues=queues)
    assert "none of the 4 live workers serves the queue emails" in explained("pending")
    assert operator().get("/admin/async_attempts/worker/").status_code == 200


def test_how_many_executions_an_unknown_target_may_begin_is_not_guessed(db):
    worker_of("emails")
    unknown = {"target": "tests.shop.gone", "scheduled_at": SOON}
    assert explained("scheduled", **unknown) == (
        "execution 1 (of how many is unknown here) is due soon"
    )
    assert explained("scheduled", **unknown, max_attempts=7) == "execution 1 of 7 is due soon"


def test_a_moment_is_spoken_in_the_current_time_zone_and_relative(settings):
    settings.TIME_ZONE = "Europe/Berlin"
    absolute, relative = spoken(THEN).split(" (")
    assert absolute == "Feb. 1, 2020, 1 p.m."
    assert relative.endswith("ago)")

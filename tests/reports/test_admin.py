"""What users of other queues' web pages have reported of killed workers and of mass retries."""

from __future__ import annotations

from datetime import timedelta

from async_attempts import Attempt, stats
from async_attempts.models import Worker
from async_attempts.store import store_for
from tests.roof.admin_pages import LIST, attempt_in, confirm, operator, said, select

WORKERS = "/admin/async_attempts/worker/"


def test_a_worker_that_was_killed_is_not_shown_as_a_live_one(db):
    """sidekiq#153, sidekiq#592, rq#713: after a kill -9 its row stays, and says nothing of that."""
    now = store_for("default").database.now()
    Worker.objects.create(host="killed", pid=7, lease=now - timedelta(seconds=1))
    client = operator()
    assert "lost since" in client.get(WORKERS).content.decode()
    assert not client.get(WORKERS, {"state": "live"}).context["cl"].result_list
    assert stats().workers == 0


def test_a_retry_of_all_that_failed_asks_first(db):
    """resque#1753, django-rq#179: one click more than meant retried all that had failed."""
    rows = [attempt_in("failed") for _ in range(3)]
    client = operator()
    question = select(client, "retry", rows[0], path=f"{LIST}?state=failed", select_across="1")
    assert Attempt.objects.filter(status="failed").count() == 3
    assert question.context["preview"].changing == "3 failed"
    assert said(client, confirm(client, question)) == ["3 retried."]

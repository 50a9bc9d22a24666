"""Pages, results and commands where somebody has made a value large: they show how large it is."""

from __future__ import annotations

import pytest
from django.core.management import call_command
from django.urls import reverse
from django.utils import timezone

from async_attempts import call, gather
from async_attempts.exceptions import AttemptFailed
from async_attempts.models import Worker
from async_attempts.payload import Arguments
from async_attempts.store import store_for
from async_attempts.store.expressions import seconds_from_now
from tests.roof.admin_pages import LIST, OneDatabase, attempt_in, operator, page_of, select
from tests.shop import clients
from tests.store.large import TOLD, json_of, marked, octets, peak_below, text, write
from tests.store.malformed import without_checks
from tests.store.rows import failure_of
from tests.worker.helpers.attempts import drain, enqueued, stored

ADMIN = "/admin/async_attempts/"
SOME = 8 * 2**20
"""What a page needs with Django's templates, which are compiled when they are first used."""


@pytest.fixture
def on_database(database, settings):
    settings.DATABASE_ROUTERS = [OneDatabase(database)]
    with without_checks(database):
        yield database


@pytest.mark.parametrize("state", ["scheduled", "pending", "waiting", "failed", "expired"])
def test_a_large_reason_is_told_on_the_page_and_hides_no_list(on_database, state):
    attempt = attempt_in(state)
    write(on_database, attempt, reason=text(on_database))
    follower = call(clients.send_welcome, 7).using(depends_on=[attempt]).enqueue()
    client = operator()
    with peak_below(SOME):
        page = client.get(page_of(attempt)).content.decode()
        pages = [client.get(path) for path in (LIST, page_of(follower))]
    # Among the columns, and in the sentence that says why it is in its state.
    assert page.count(TOLD) >= 2
    assert [response.status_code for response in pages] == [200, 200]


def test_a_verb_acts_on_what_has_a_large_reason(on_database):
    attempt = attempt_in("failed")
    write(on_database, attempt, reason=text(on_database))
    client = operator()
    with peak_below(SOME):
        question = select(client, "retry", attempt)
    assert attempt.target in question.content.decode()


def test_large_metadata_are_told_on_the_page(on_database):
    attempt = attempt_in("pending")
    write(on_database, attempt, metadata=json_of(on_database))
    client = operator()
    with peak_below(SOME):
        page = client.get(page_of(attempt)).content.decode()
        assert client.get(LIST).status_code == 200
    assert TOLD in page


def test_large_details_are_told_on_both_pages(on_database):
    attempt = attempt_in("failed")
    failure, other = failure_of(attempt), failure_of(attempt, 2)
    write(on_database, failure, details=octets(on_database, b"\x02"))
    client = operator()
    with peak_below(SOME):
        own = client.get(f"{ADMIN}failure/{failure.pk}/change/").content.decode()
        page = client.get(page_of(attempt)).content.decode()
        assert client.get(f"{ADMIN}failure/").status_code == 200
    assert (TOLD in own, TOLD in page, "it broke" in page) == (True, True, True)
    assert other.message == "it broke"


@pytest.mark.parametrize("page", ["worker/", "worker/{}/change/"])
def test_large_names_of_queues_are_told(on_database, page):
    worker = Worker.objects.create(host="web-1", pid=7, queues=["default"], lease=timezone.now())
    attempt = attempt_in("running", claimed_by=worker.pk)
    Worker.objects.update(lease=seconds_from_now(60))
    write(on_database, worker, queues=json_of(on_database))
    client = operator()
    with peak_below(SOME):
        shown = client.get(ADMIN + page.format(worker.pk)).content.decode()
        assert client.get(page_of(attempt)).status_code == 200
    assert TOLD in shown


def test_schedules_with_large_arguments_hide_no_page(on_database):
    row = store_for(on_database).database.schedules.model(
        name="weekly", cron="@weekly", timezone="UTC", target="tests.shop.reports.report"
    )
    row._state.db = on_database
    row.seal(Arguments())
    row.write(on_database, None)
    write(on_database, row, args=octets(on_database, b"\x02"))
    client = operator()
    with peak_below(SOME):
        for path in ("schedule_changelist", "schedule_change"):
            args = [row.pk] if path.endswith("change") else []
            assert client.get(reverse(f"admin:async_attempts_{path}", args=args)).status_code == 200


def test_whoever_waits_is_told_instead_of_the_reason(on_database):
    one = enqueued(on_database, clients.send_welcome, 7)
    one.fail("given up")
    write(on_database, one, reason=text(on_database))
    with peak_below(SOME):
        [ending] = gather(one, timeout=1, until="settled")
        with pytest.raises(AttemptFailed):
            one.result(timeout=1)
    assert ending.message == TOLD


def test_a_verb_and_a_drain_pass_by_a_large_reason(on_database):
    one = enqueued(on_database, clients.send_welcome, 7)
    write(on_database, one, reason=text(on_database))
    failed = enqueued(on_database, clients.send_welcome, 7)
    failed.fail()
    write(on_database, failed, reason=text(on_database))
    with peak_below(SOME):
        drain(on_database)
        failed.retry()
    assert (stored(one).status, failed.reason) == ("succeeded", "")


def test_the_commands_pass_by_large_values(on_database, capsys):
    one = enqueued(on_database, clients.send_welcome, 7)
    reason = marked(on_database, "sealed with key ")
    write(on_database, one, reason=reason, result=octets(on_database, b"\x02"))
    with peak_below(SOME):
        for command in (["stats"], ["prune", "--dry-run"], ["queues"], ["schedules"]):
            call_command("attempts", *command, database=on_database)
    assert "x" * 100 not in capsys.readouterr().out

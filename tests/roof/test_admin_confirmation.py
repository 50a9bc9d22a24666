"""What the confirmation of a verb says, counted on each database, and what then happens."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connections
from django.test.utils import CaptureQueriesContext
from django.utils import timezone, translation

from async_attempts import Attempt, call, enqueue_many
from async_attempts.admin import confirmation, pages
from tests.roof.admin_pages import (
    LIST,
    OneDatabase,
    attempt_in,
    confirm,
    operator,
    page_of,
    said,
    select,
)
from tests.roof.test_admin_verbs import CHANGED, STATES
from tests.shop import clients

VERBS = ("expire", "fail", "retry")
LIVE = "scheduled, pending, running, waiting"
ENDED = "succeeded, failed, expired"


@pytest.fixture
def on_database(database, settings):
    settings.DATABASE_ROUTERS = [OneDatabase(database)]
    return database


def many(number, **columns):
    """Ended or live attempts, written at once."""
    rows = enqueue_many(call(clients.send_welcome, 1) for _ in range(number))
    Attempt.objects.filter(pk__in=[row.pk for row in rows]).update(**columns)


def asked(verb, *ticked, client=None, **more):
    return select(client or operator(), verb, *ticked, **more).context["preview"]


def ended(status):
    return {"status": status, "completed_at": timezone.now()}


@pytest.mark.parametrize("verb", VERBS)
def test_the_counts_of_all_that_match_are_what_the_verb_then_reports(on_database, verb):
    for number, state in enumerate(STATES, 1):
        for _ in range(number):
            row = attempt_in(state)
    client = operator()
    question = select(client, verb, row, select_across="1")
    numbers = dict(zip(STATES, range(1, 6), strict=True))
    if_asked = {"expired"} if verb == "retry" else set()
    preview = question.context["preview"]
    assert counts_in(preview.changing) == {s: numbers[s] for s in CHANGED[verb] - if_asked}
    assert counts_in(preview.if_asked) == {s: numbers[s] for s in if_asked}
    assert counts_in(preview.skipping) == {s: numbers[s] for s in {*STATES} - CHANGED[verb]}
    (report,) = said(client, confirm(client, question))
    changed, skipped = report.rstrip(".").split(": ")
    assert counts_in(skipped) == {s: numbers[s] for s in {*STATES} - CHANGED[verb] | if_asked}
    assert int(changed.split()[0]) == sum(counts_in(preview.changing).values())


def counts_in(text):
    """E.g. {"pending": 2} of "2 pending"."""
    words = [part.split(" ", 1) for part in text.split(", ") if part]
    return {state: int(number) for number, state in words}


def test_nothing_is_counted_by_a_sample(on_database, monkeypatch):
    """Behind the cap of the list, where counting used to stop and its sample read as the total."""
    monkeypatch.setattr(pages, "COUNT_CAP", 3)
    many(4, **ended("succeeded"))
    many(7, status="pending")
    preview = asked("fail", Attempt.objects.first(), select_across="1")
    assert (preview.changing, preview.skipping) == ("7 pending", "4 succeeded")


@pytest.mark.parametrize(
    ("most", "verb", "said_of"),
    [
        (9, "fail", ("2 pending", "", "7 succeeded")),
        (8, "fail", ("2 pending", "", "7 succeeded")),
        (6, "fail", ("2 pending", "", f"more than 6 ({ENDED})")),
        (1, "fail", (f"more than 1 ({LIVE})", "", f"more than 1 ({ENDED})")),
        (6, "retry", ("", "", f"more than 6 ({LIVE}, succeeded)")),
    ],
)
def test_beyond_its_bound_a_part_is_said_to_be_more(on_database, monkeypatch, most, verb, said_of):
    monkeypatch.setattr(confirmation, "MOST_COUNTED", most)
    many(7, **ended("succeeded"))
    many(2, status="pending")
    assert asked(verb, Attempt.objects.first(), select_across="1")[:3] == said_of


def test_numbers_are_written_as_people_write_them(db, monkeypatch):
    monkeypatch.setattr(confirmation, "MOST_COUNTED", 100_000)
    monkeypatch.setattr(confirmation, "count_states", lambda *_: None)
    row = attempt_in("pending")
    client = operator()
    changing = asked("fail", row, client=client, select_across="1").changing
    assert changing == f"more than 100,000 ({LIVE})"
    with translation.override("de"):
        assert confirmation.preview(Attempt.objects.all(), "retry").if_asked == (
            "mehr als 100.000 (verfallen)"
        )


def test_what_arrives_while_it_is_asked_is_not_counted(db):
    seen = attempt_in("pending")
    client = operator()
    question = select(client, "fail", seen, select_across="1")
    attempt_in("pending")
    again = confirm(client, question, reason=" ")
    assert again.context["preview"].changing == "1 pending"


def test_the_filter_is_carried_and_not_the_ids(on_database):
    many(3, **ended("failed"))
    rows = list(Attempt.objects.all())
    with CaptureQueriesContext(connections[on_database]) as queries:
        question = select(
            operator(), "retry", *rows, path=f"{LIST}?state=failed", select_across="1"
        )
    assert question.content.decode().count('name="_selected_action"') == 1
    on_attempts = [q for q in queries if "FROM" in q["sql"] and "attempts_attempt" in q["sql"]]
    # Django's own list is one of them, and is never read.
    assert len(on_attempts) <= 3


def test_expired_attempts_are_retried_only_if_asked_for(on_database):
    failed, expired = attempt_in("failed"), attempt_in("expired")
    client = operator()
    question = select(client, "retry", failed, expired, select_across="1")
    assert question.context["form"]["with_expired"].value() in (None, False)
    response = confirm(client, question)
    assert said(client, response) == ["1 retried, 1 skipped: 1 expired."]
    assert Attempt.objects.get(pk=expired.pk).status == "expired"
    again = select(client, "retry", expired, select_across="1")
    assert said(client, confirm(client, again, with_expired="on")) == [
        "1 retried, 1 skipped: 1 pending."
    ]


@pytest.mark.parametrize("across", ["0", "1"])
def test_a_retry_of_ticked_rows_is_asked_about_as_one_of_all_that_match(db, across):
    attempt = attempt_in("failed")
    client = operator()
    question = select(client, "retry", attempt, select_across=across)
    attempt.refresh_from_db()
    assert attempt.status == "failed"
    assert question.context["preview"].changing == "1 failed"
    assert said(client, confirm(client, question)) == ["1 retried."]


def test_where_only_expired_ones_could_be_retried_the_box_has_to_be_ticked(db):
    question = operator().post(
        LIST,
        {"action": "retry", "_selected_action": str(attempt_in("expired").pk), "from_page": "1"},
    )
    assert 'name="with_expired" required' in question.content.decode()
    other = select(operator(), "retry", attempt_in("failed"), attempt_in("expired"))
    assert 'name="with_expired" required' not in other.content.decode()


def test_where_nothing_has_expired_nobody_is_asked_about_it(db):
    question = select(operator(), "retry", attempt_in("failed"))
    assert 'name="with_expired"' not in question.content.decode()


def test_a_retry_is_spread(on_database):
    many(20, **ended("failed"))
    before = timezone.now()
    client = operator()
    question = select(client, "retry", Attempt.objects.first(), select_across="1")
    assert said(client, confirm(client, question, spread="90")) == ["20 retried."]
    due = [row.scheduled_at for row in Attempt.objects.filter(status="scheduled")]
    assert len(due) == 20
    minute = timedelta(minutes=1)
    assert before - minute < min(due) < max(due) < timezone.now() + 91 * minute
    assert max(due) - min(due) > 10 * minute
    messages = {entry.change_message for entry in LogEntry.objects.all()}
    assert messages == {"Retried. Spread over 90 minutes. a duplicate"}


@pytest.mark.parametrize("spread", ["-1", "soon", "nan", "inf", "1e9"])
def test_a_spread_that_is_none_is_asked_for_again(db, spread):
    attempt = attempt_in("failed")
    client = operator()
    again = confirm(client, select(client, "retry", attempt), spread=spread)
    assert again.context["form"].errors.keys() == {"spread"}
    attempt.refresh_from_db()
    assert attempt.status == "failed"


def test_where_there_is_nothing_to_change_there_is_no_button(db):
    question = select(operator(), "fail", attempt_in("failed"), select_across="1")
    text = question.content.decode()
    assert "There is nothing to change." in text
    assert 'type="submit" value="Fail"' not in text


def test_the_reason_of_a_retry_is_in_the_history_of_the_attempt(db):
    attempt = attempt_in("failed", reason="it broke")
    client = operator()
    confirm(client, select(client, "retry", attempt), reason="the API is back")
    attempt.refresh_from_db()
    assert (attempt.status, attempt.reason) == ("pending", "")
    history = client.get(page_of(attempt).replace("/change/", "/history/"))
    assert "Retried. the API is back" in history.content.decode()


def test_the_confirmation_leads_back_to_the_list(db):
    call(clients.send_welcome, 1).enqueue()
    text = select(operator(), "fail", attempt_in("pending"), select_across="1").content.decode()
    assert f'<a href="{LIST}">Attempts</a>' in text

"""Expire, fail and retry in the admin: for whom, on what, and what they report."""

from __future__ import annotations

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.core.exceptions import PermissionDenied

from async_attempts import Attempt, Changes, call
from async_attempts.admin import pages, verbs
from tests.roof.admin_pages import (
    LIST,
    OneDatabase,
    attempt_in,
    confirm,
    logged_in,
    operator,
    page_of,
    person,
    said,
    select,
)
from tests.shop import clients
from tests.store.sessions import Session

VERBS = {"expire": "pending", "fail": "pending", "retry": "failed"}
ENDS = {"expire": "expired", "fail": "failed", "retry": "pending"}
PAST = {"expire": "expired", "fail": "failed", "retry": "retried"}
STATES = ("pending", "running", "succeeded", "failed", "expired")
CHANGED = {
    "expire": {"pending", "running"},
    "fail": {"pending", "running"},
    "retry": {"failed", "expired"},
}


@pytest.fixture
def on_database(database, settings):
    settings.DATABASE_ROUTERS = [OneDatabase(database)]
    return database


def carried_out(client, verb, *attempts):
    """The verb on ticked rows, expired ones as well."""
    response = select(client, verb, *attempts, reason="a duplicate")
    return confirm(client, response, with_expired="on") if verb == "retry" else response


def test_without_a_reason_the_person_is_named(db):
    attempt = attempt_in("pending")
    select(operator(), "expire", attempt)
    attempt.refresh_from_db()
    assert attempt.reason.startswith("by operator-")
    assert attempt.status == "expired"


@pytest.mark.parametrize("allowed", [None, *VERBS])
@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_needs_its_own_permission(db, verb, allowed):
    attempt = attempt_in(VERBS[verb])
    client = logged_in("view_attempt", *([f"{allowed}_attempt"] if allowed else []))
    forged = {"newest": str(attempt.pk), "reason": "because"}
    select(client, verb, attempt, **forged)
    attempt.refresh_from_db()
    assert attempt.status == (ENDS[verb] if verb == allowed else VERBS[verb])


@pytest.mark.parametrize("verb", VERBS)
def test_the_permission_to_change_attempts_lets_nobody_act(db, verb):
    attempt = attempt_in(VERBS[verb])
    client = logged_in("view_attempt", "change_attempt", "delete_attempt", "add_attempt")
    select(client, verb, attempt, newest=str(attempt.pk), reason="because")
    attempt.refresh_from_db()
    assert attempt.status == VERBS[verb]


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_without_permission_to_view_is_forbidden(db, verb):
    attempt = attempt_in(VERBS[verb])
    assert select(logged_in(f"{verb}_attempt"), verb, attempt).status_code == 403


@pytest.mark.parametrize("verb", VERBS)
def test_a_get_changes_nothing(db, verb):
    attempt = attempt_in(VERBS[verb])
    operator().get(
        LIST, {"action": verb, "_selected_action": attempt.pk, "newest": attempt.pk, "reason": "x"}
    )
    attempt.refresh_from_db()
    assert attempt.status == VERBS[verb]


@pytest.mark.parametrize("verb", VERBS)
def test_a_post_without_a_csrf_token_is_refused(db, verb):
    attempt = attempt_in(VERBS[verb])
    client = logged_in("view_attempt", f"{verb}_attempt", enforce_csrf_checks=True)
    assert select(client, verb, attempt).status_code == 403
    attempt.refresh_from_db()
    assert attempt.status == VERBS[verb]


@pytest.mark.parametrize("verb", VERBS)
def test_only_the_permitted_verb_is_offered(db, verb):
    attempt = attempt_in(VERBS[verb])
    client = logged_in("view_attempt", f"{verb}_attempt")
    choices = client.get(LIST).context["action_form"].fields["action"].choices
    assert [name for name, _label in choices] == ["", verb]
    assert list(client.get(page_of(attempt)).context["verbs"]) == [verb]


@pytest.mark.parametrize("method", ["get", "post"])
@pytest.mark.parametrize("verb", VERBS)
def test_the_handler_itself_refuses_what_is_not_permitted_or_not_posted(db, rf, verb, method):
    attempt = attempt_in(VERBS[verb])
    request = getattr(rf, method)(LIST, {"newest": str(attempt.pk), "reason": "because"})
    request.user = person("view_attempt") if method == "post" else person(f"{verb}_attempt")
    handler = getattr(admin.site.get_model_admin(Attempt), verb)
    with pytest.raises(PermissionDenied):
        handler(request, Attempt.objects.all())
    attempt.refresh_from_db()
    assert attempt.status == VERBS[verb]


def test_the_page_offers_only_what_the_state_allows(db):
    client = operator()
    offered = {
        state: list(client.get(page_of(attempt_in(state))).context["verbs"])
        for state in ("pending", "running", "failed", "succeeded")
    }
    assert offered == {
        "pending": ["expire", "fail"],
        "running": ["expire", "fail"],
        "failed": ["retry"],
        "succeeded": [],
    }


@pytest.mark.parametrize("verb", VERBS)
def test_a_verbs_what_it_may_and_reports_the_rest(on_database, verb):
    rows = {state: attempt_in(state) for state in STATES}
    client = operator()
    (report,) = said(client, carried_out(client, verb, *rows.values()))
    after = {state: Attempt.objects.get(pk=row.pk).state for state, row in rows.items()}
    assert after == {s: ENDS[verb] if s in CHANGED[verb] else s for s in STATES}
    counts, why = report.rstrip(".").split(": ")
    assert counts == f"2 {PAST[verb]}, 3 skipped"
    assert set(why.split(", ")) == {f"1 {state}" for state in STATES if state not in CHANGED[verb]}


def test_the_report_names_what_runs_atomically():
    changes = Changes(3, {"succeeded": 1, "running atomically": 1})
    assert verbs.report("expire", changes) == (
        "3 expired, 2 skipped: 1 succeeded, 1 running atomically."
    )


def test_a_report_of_nothing_skipped_says_only_what_changed():
    assert verbs.report("retry", Changes(1, {})) == "1 retried."


def test_all_that_match_are_changed_beyond_the_page_and_the_cap(on_database, monkeypatch):
    monkeypatch.setattr(pages, "COUNT_CAP", 2)
    call(clients.send_later, 1).using(queue="default").enqueue()
    for _ in range(5):
        attempt = attempt_in("pending", queue="emails")
    client = operator()
    path = f"{LIST}?queue=emails"
    question = select(client, "expire", attempt, path=path, select_across="1")
    assert question.content.decode().count("_selected_action") == 1
    assert said(client, confirm(client, question)) == ["5 expired."]
    assert Attempt.objects.filter(status="expired", reason="a duplicate").count() == 5
    assert Attempt.objects.filter(queue="default").get().status == "pending"


def test_what_arrives_after_the_question_stays_out(on_database):
    asked_about = attempt_in("pending")
    client = operator()
    question = select(client, "fail", asked_about, select_across="1")
    late = attempt_in("pending")
    assert said(client, confirm(client, question)) == ["1 failed."]
    late.refresh_from_db()
    assert late.status == "pending"


def test_an_unknown_filter_never_widens_what_is_changed(db):
    attempt = attempt_in("failed")
    response = select(operator(), "retry", attempt, path=f"{LIST}?state=lost", select_across="1")
    assert response["Location"] == f"{LIST}?e=1"
    attempt.refresh_from_db()
    assert attempt.status == "failed"


@pytest.mark.parametrize("verb", VERBS)
def test_a_reason_is_asked_for_before_anything_changes(db, verb):
    attempt = attempt_in(VERBS[verb])
    client = operator()
    question = select(client, verb, attempt, select_across="1")
    again = confirm(client, question, reason="  ")
    assert "This field is required." in again.content.decode()
    attempt.refresh_from_db()
    assert attempt.status == VERBS[verb]
    confirm(client, again, reason="a duplicate")
    attempt.refresh_from_db()
    # A retried attempt has no reason any more: its is in the log.
    assert (attempt.status, attempt.reason) == (
        ENDS[verb],
        "" if verb == "retry" else "a duplicate",
    )


@pytest.mark.parametrize("verb", VERBS)
def test_a_button_on_the_page_acts_and_comes_back(db, verb):
    attempt = attempt_in(VERBS[verb])
    client = operator()
    button = {"action": verb, "_selected_action": str(attempt.pk), "from_page": "1"}
    response = confirm(client, client.post(LIST, button))
    assert response["Location"] == page_of(attempt)
    attempt.refresh_from_db()
    assert attempt.status == ENDS[verb]


def test_an_id_that_is_none_is_a_bad_request(db):
    response = operator().post(LIST, {"action": "retry", "_selected_action": "1 OR 1=1"})
    assert response.status_code == 400


def test_attempts_that_are_gone_are_reported(db):
    attempt = attempt_in("pending")
    Attempt.objects.all().delete()
    client = operator()
    assert said(client, select(client, "expire", attempt, select_across="1")) == [
        "None of them is there any more."
    ]


@pytest.mark.parametrize("verb", VERBS)
def test_the_log_tells_who_changed_which_attempt_and_why(on_database, verb):
    changed, left = attempt_in(VERBS[verb]), attempt_in("succeeded")
    client = operator()
    carried_out(client, verb, changed, left)
    entry = LogEntry.objects.get()
    assert (entry.object_id, entry.object_repr) == (str(changed.pk), str(changed))
    assert entry.user_id == int(client.session["_auth_user_id"])
    assert entry.change_message == f"{PAST[verb].capitalize()}. a duplicate"
    history = client.get(page_of(changed).replace("/change/", "/history/"))
    assert entry.change_message in history.content.decode()


def test_many_changes_are_logged_together(on_database, monkeypatch):
    monkeypatch.setattr(verbs, "LOGGED_ONE_BY_ONE", 2)
    attempts = [attempt_in("failed") for _ in range(3)]
    client = operator()
    assert said(client, confirm(client, select(client, "retry", *attempts))) == ["3 retried."]
    entry = LogEntry.objects.get()
    assert (entry.object_id, entry.object_repr) == (None, "3 attempts")
    assert client.get("/admin/").status_code == 200


@pytest.mark.only("postgresql", "mariadb", reason="SQLite has one writer and no row locks")
def test_what_runs_atomically_is_reported_and_not_logged(on_database):
    free, held = attempt_in("running"), attempt_in("running")
    client, other = operator(), Session(on_database)
    question = select(client, "expire", free, held, select_across="1")
    try:
        other.begin()
        other.do(list, Attempt.objects.filter(pk=held.pk).select_for_update())
        response = confirm(client, question)
    finally:
        other.close()
    assert said(client, response) == ["1 expired, 1 skipped: 1 running atomically."]
    assert [entry.object_id for entry in LogEntry.objects.all()] == [str(free.pk)]

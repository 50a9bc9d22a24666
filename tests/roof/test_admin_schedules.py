"""Schedules in the admin: for whom, what may be changed, and what the verbs do."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from django.contrib.admin import site
from django.contrib.admin.models import LogEntry
from django.core.exceptions import PermissionDenied
from django.test import RequestFactory
from django.urls import reverse

from async_attempts import recurring, schedules
from async_attempts.models import Attempt, Schedule
from async_attempts.payload import Arguments
from async_attempts.store import store_for
from tests.roof.admin_pages import logged_in, operator, person, said, select
from tests.shop import reports
from tests.shop.models import Order

LIST = "/admin/async_attempts/schedule/"
ADD = f"{LIST}add/"
GIVEN = {
    "name": "weekly",
    "cron": "0 2 * * mon",
    "every": "",
    "timezone": "Europe/Berlin",
    "target": "tests.shop.reports.report",
    "method_args": '{"note": "secret-canary"}',
    "catch_up": "latest",
    "overlap": "skip",
    "queue": "",
    "priority": "",
    "until_0": "",
    "until_1": "",
    "options": "",
}


@pytest.fixture
def declared(db, monkeypatch):
    monkeypatch.setattr(schedules, "_in_code", {})
    recurring("30 2 * * *", name="nightly", timezone="Asia/Tokyo")(reports.recount)
    schedules.declare(store_for("default"))
    return Schedule._base_manager.get()


def page_of(schedule):
    return reverse("admin:async_attempts_schedule_change", args=[schedule.pk])


def made(client, **given):
    assert client.post(ADD, GIVEN | given).status_code == 302
    return Schedule._base_manager.get(name=given.get("name", GIVEN["name"]))


def test_a_person_makes_one(db):
    row = made(operator(), priority="9", queue="emails")
    assert (row.source, row.overlap, row.priority, row.queue) == ("admin", "skip", 9, "emails")
    assert row.arguments == Arguments(note="secret-canary")
    assert row.next_tick > datetime.now(UTC)
    assert b"canary" not in bytes(row.args)


def test_it_is_listed_and_shown_without_its_arguments(db):
    client = operator()
    row = made(client)
    for page in (LIST, page_of(row)):
        text = client.get(page).content.decode()
        assert "weekly" in text
        assert "canary" not in text


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("cron", "61 2 * * *", "out of range"),
        ("cron", "0 0 30 2 *", "names a day that no year has"),
        ("timezone", "Europe/Berln", "did you mean"),
        ("target", "tests.shop.reports.nothing", "nothing"),
        ("target", "os.path.join", "no installed app"),
        ("method_args", "{", "JSON"),
        ("method_args", '{"nota": 1}', "nota"),
        ("method_args", "1", "method_args"),
        ("priority", "101", "100"),
        ("queue", "nowhere", "nowhere"),
        ("overlap", "queue", "queue"),
    ],
)
def test_what_is_wrong_is_told_at_its_field(db, field, value, told):
    page = operator().post(ADD, GIVEN | {field: value})
    assert page.status_code == 200
    errors = page.context["adminform"].form.errors
    assert list(errors) == [field]
    assert told in str(errors[field])
    assert not Schedule._base_manager.exists()


def test_a_name_that_code_has_taken_is_refused(declared):
    page = operator().post(ADD, GIVEN | {"name": "nightly"})
    assert "name" in page.context["adminform"].form.errors


def test_a_person_changes_it_and_its_arguments_stay(db):
    client = operator()
    row = made(client)
    client.post(page_of(row), GIVEN | {"cron": "0 4 * * *", "timezone": "UTC", "method_args": ""})
    row.refresh_from_db()
    assert (row.cron, row.next_tick.hour) == ("0 4 * * *", 4)
    assert row.arguments == Arguments(note="secret-canary")


def test_no_arguments_go_along_to_another_target(db):
    client = operator()
    row = made(client, method_args="")
    client.post(page_of(row), GIVEN | {"target": "tests.shop.reports.recount", "method_args": ""})
    row.refresh_from_db()
    assert row.target == "tests.shop.reports.recount"
    assert row.arguments == Arguments()


@pytest.mark.parametrize("kept", ['{"note": "secret-canary"}', '["secret-canary"]'])
def test_another_target_is_not_given_the_arguments_that_nobody_may_read(db, kept):
    client = operator()
    row = made(client, target="tests.shop.effects.record", method_args=kept)
    changed = GIVEN | {"target": "tests.shop.reports.report", "method_args": ""}
    page = client.post(page_of(row), changed)
    assert page.status_code == 200
    assert list(page.context["adminform"].form.errors) == ["method_args"]
    assert "canary" not in page.content.decode()
    row.refresh_from_db()
    assert row.target == "tests.shop.effects.record"
    given = changed | {"method_args": '{"note": "given anew"}'}
    assert client.post(page_of(row), given).status_code == 302
    row.refresh_from_db()
    assert (row.target, row.arguments) == (given["target"], Arguments(note="given anew"))


def test_arguments_are_not_told_by_a_target_of_which_they_are_only_a_part(db):
    """Neither by its error: what doesn't fit is looked at after whose they are."""
    client = operator()
    row = made(client)
    other = GIVEN | {"target": "tests.shop.reports.recount", "method_args": ""}
    [error] = client.post(page_of(row), other).context["adminform"].form.errors["method_args"]
    assert "note" not in error
    assert "{} for none" in error
    assert client.post(page_of(row), other | {"method_args": "{}"}).status_code == 302


def test_what_code_declares_is_read_only_and_can_be_paused(declared):
    client = logged_in(*(f"{verb}_schedule" for verb in ("view", "change", "delete", "pause")))
    page = client.get(page_of(declared)).content.decode()
    assert 'name="cron"' not in page
    assert client.post(page_of(declared), GIVEN).status_code == 403
    assert client.post(f"{page_of(declared)}delete/".replace("change/", "")).status_code == 403
    response = select(client, "pause", declared, path=LIST)
    assert said(client, response) == ["1 paused."]
    declared.refresh_from_db()
    assert (declared.is_paused, declared.cron) == (True, "30 2 * * *")


def test_the_page_shows_the_next_five_runs_by_the_schedules_clock(declared):
    page = operator().get(page_of(declared)).content.decode()
    assert page.count("2:30 a.m. JST") == 5


def test_verbs_are_buttons_that_lead_back(declared):
    client = operator()
    response = select(client, "pause", declared, path=LIST, from_page="1")
    assert response.url == page_of(declared)
    page = client.get(page_of(declared)).content.decode()
    assert 'value="resume"' in page
    assert 'value="pause"' not in page
    select(client, "resume", declared, path=LIST)
    declared.refresh_from_db()
    assert declared.next_tick > datetime.now(UTC)
    assert {entry.change_message for entry in LogEntry.objects.all()} == {"Paused.", "Resumed."}


def test_one_is_run_now_and_linked(declared):
    client = operator()
    response = select(client, "run_now", declared, path=LIST)
    assert said(client, response) == ["1 attempt enqueued."]
    attempt = Attempt.objects.get()
    assert attempt.schedule == "nightly"
    assert reverse("admin:async_attempts_attempt_change", args=[attempt.pk]) in (
        client.get(LIST).content.decode()
    )


def test_what_can_not_be_run_is_told(declared):
    Schedule._base_manager.update(target="tests.shop.reports.nothing")
    client = operator()
    messages = said(client, select(client, "run_now", declared, path=LIST))
    assert messages[0].startswith("nightly: ")
    assert messages[1] == "0 attempts enqueued."


@pytest.fixture
def homeless(db):
    """A paused schedule whose timezone this machine doesn't know any more, and one beside it."""
    client = operator()
    rows = [made(client, name=name) for name in ("a homeless one", "its neighbour")]
    store_for("default").schedules.pause([row.pk for row in rows])
    Schedule._base_manager.filter(pk=rows[0].pk).update(timezone="Mars/Base")
    return rows


def test_what_can_not_be_resumed_is_told_and_holds_up_no_other(homeless):
    client = operator()
    messages = said(client, select(client, "resume", *homeless, path=LIST))
    assert messages[0].startswith("a homeless one: timezone: 'Mars/Base'")
    assert messages[1] == "1 resumed."
    assert Schedule._base_manager.get(is_paused=False).name == "its neighbour"


def test_what_went_wrong_beside_the_admin_can_be_mended_there(homeless):
    row, _ = homeless
    Schedule._base_manager.filter(pk=row.pk).update(is_paused=False)
    client = operator()
    assert client.get(page_of(row)).status_code == 200
    kept = client.post(page_of(row), GIVEN | {"method_args": ""})
    assert "edited past the form" in kept.content.decode()
    assert client.post(page_of(row), GIVEN).status_code == 302
    row.refresh_from_db()
    assert row.next_tick > datetime.now(UTC)


@pytest.mark.parametrize("verb", ["pause", "resume", "run_now"])
@pytest.mark.parametrize("allowed", [None, "pause", "enqueue", "change"])
def test_each_verb_needs_its_permission(declared, verb, allowed):
    if verb == "resume":
        store_for("default").schedules.pause([declared.pk])
    client = logged_in("view_schedule", *([f"{allowed}_schedule"] if allowed else []))
    select(client, verb, declared, path=LIST)
    row = Schedule._base_manager.get()
    done = {
        "pause": row.is_paused,
        "resume": not row.is_paused,
        "run_now": Attempt.objects.exists(),
    }[verb]
    assert done == (allowed == ("enqueue" if verb == "run_now" else "pause"))


def test_what_is_declared_no_longer_says_so_and_can_be_deleted(declared):
    Schedule._base_manager.update(is_declared=False, next_tick=None)
    client = operator()
    assert "no longer declared in code" in client.get(LIST).content.decode()
    delete = reverse("admin:async_attempts_schedule_delete", args=[declared.pk])
    client.post(delete, {"post": "yes"})
    assert not Schedule._base_manager.exists()


def test_ids_that_are_none_are_refused(declared):
    data = {"action": "pause", "index": "0", "_selected_action": ["1"]}
    assert operator().post(LIST, data).status_code == 400


def test_the_field_for_arguments_is_empty_as_they_are_not_shown(db):
    client = operator()
    schedule = made(client)
    for page in (ADD, page_of(schedule)):
        assert "null" not in client.get(page).content.decode().partition("id_method_args")[2]


def test_an_operator_gives_codes_another_cron_and_goes_back(declared):
    client = logged_in("view_schedule", "override_schedule")
    page = client.get(page_of(declared)).content.decode()
    assert 'name="cron"' in page
    assert 'name="target"' not in page
    response = client.post(page_of(declared), {"cron": "0 4 * * *", "every": "", "target": "x"})
    assert response.status_code == 302
    schedules.declare(store_for("default"))
    declared.refresh_from_db()
    assert (declared.cron, declared.target) == ("0 4 * * *", "tests.shop.reports.recount")
    shown = "0 4 * * *, changed by an operator (code says 30 2 * * *)"
    for url in (LIST, page_of(declared)):
        assert shown in client.get(url).content.decode()
    assert 'value="back_to_code"' in client.get(page_of(declared)).content.decode()
    assert said(client, select(client, "back_to_code", declared, path=LIST)) == [
        "1 is back to code."
    ]
    declared.refresh_from_db()
    assert (declared.cron, declared.code_says) == ("30 2 * * *", None)
    assert 'value="back_to_code"' not in client.get(page_of(declared)).content.decode()


def test_an_interval_takes_the_place_of_a_cron(declared):
    client = operator()
    page = client.post(page_of(declared), {"cron": "30 2 * * *", "every": "1:30:00"})
    assert list(page.context["adminform"].form.errors) == ["every"]
    assert client.post(page_of(declared), {"cron": "", "every": "1:30:00"}).status_code == 302
    declared.refresh_from_db()
    assert declared.times == "every 1:30:00"


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"cron": "61 * * * *", "every": ""}, "cron"),
        ({"cron": "", "every": ""}, "cron"),
        ({"cron": "", "every": "0.5"}, "every"),
        ({"cron": "", "every": "soon"}, "every"),
    ],
)
def test_times_that_can_not_be_are_told_at_their_field(declared, given, field):
    page = operator().post(page_of(declared), given)
    assert list(page.context["adminform"].form.errors) == [field]
    declared.refresh_from_db()
    assert declared.code_says is None


def test_times_that_are_left_as_they_are_change_nothing(declared):
    operator().post(page_of(declared), {"cron": "30 2 * * *", "every": ""})
    declared.refresh_from_db()
    assert declared.code_says is None


def test_what_no_code_here_declares_is_told(declared):
    schedules._in_code.clear()
    page = operator().post(page_of(declared), {"cron": "0 4 * * *", "every": ""})
    assert "is declared by no code here" in page.content.decode()
    schedules_row = Schedule._base_manager.get()
    assert schedules_row.cron == "30 2 * * *"


def test_back_to_code_needs_the_permission(declared):
    schedules.override("nightly", every=60)
    for codenames in ((), ("change_schedule", "pause_schedule")):
        client = logged_in("view_schedule", *codenames)
        select(client, "back_to_code", declared, path=LIST)
        assert client.post(page_of(declared), {"cron": "@daily", "every": ""}).status_code == 403
    assert Schedule._base_manager.get().code_says is not None


def test_a_person_makes_one_of_an_interval_with_options_and_an_end(db):
    given = {"cron": "", "every": "1:30:00", "until_0": "2040-01-01", "until_1": "00:00:00"}
    options = '{"timeout": 60, "expires": "next tick"}'
    row = made(operator(), options=options, **given)
    assert (row.times, row.timeout, row.expires) == ("every 1:30:00", 60, "next tick")
    assert (row.until.year, row.arguments) == (2040, Arguments(note="secret-canary"))
    page = operator().post(ADD, GIVEN | {"name": "n", "options": '{"timeout": -1}'})
    assert list(page.context["adminform"].form.errors) == ["options"]


def test_one_that_code_made_is_shown_with_its_subject_and_may_be_changed_and_deleted(db):
    order = Order.objects.create(number=1)
    given: dict[str, Any] = {"every": 60, "target": reports.recount, "subject": order}
    row = Schedule.objects.create(name="weekly", **given)
    client = operator()
    assert f"shop.order {order.pk}" in client.get(page_of(row)).content.decode()
    posted = GIVEN | {"target": "tests.shop.reports.recount", "method_args": ""}
    assert client.post(page_of(row), posted).status_code == 302
    row.refresh_from_db()
    assert (row.cron, row.source, row.subject) == (GIVEN["cron"], "made", order)
    client.post(reverse("admin:async_attempts_schedule_delete", args=[row.pk]), {"post": "yes"})
    assert not Schedule._base_manager.exists()


@pytest.mark.parametrize("verb", ["pause", "resume", "run_now", "back_to_code"])
def test_each_verb_asks_again_for_its_permission(declared, verb):
    request = RequestFactory().post(LIST)
    request.user = person("view_schedule", "change_schedule")
    act = getattr(site.get_model_admin(Schedule), verb)
    with pytest.raises(PermissionDenied):
        act(request, Schedule.objects.all())

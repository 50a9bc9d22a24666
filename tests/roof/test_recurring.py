"""`@recurring` and the setting SCHEDULES: what they declare, and what they refuse."""

from __future__ import annotations

from datetime import timedelta
from importlib.machinery import ModuleSpec
from typing import Any

import pytest
from django.test import override_settings

from async_attempts import (
    Arguments,
    InvalidArguments,
    InvalidOption,
    InvalidTarget,
    recurring,
    schedules,
)
from async_attempts.ids import made_at
from async_attempts.models import Schedule
from async_attempts.store import store_for
from tests.shop import clients, reports

TARGET = "tests.shop.reports.recount"


@pytest.fixture(autouse=True)
def _nothing_declared(monkeypatch):
    monkeypatch.setattr(schedules, "_in_code", {})


def test_it_returns_what_it_was_given_and_is_named_after_the_target():
    assert recurring("@daily")(reports.recount) is reports.recount
    [declared] = schedules.declared().values()
    assert (declared.name, declared.target, declared.source) == (TARGET, TARGET, "in code")
    assert (declared.catch_up, declared.overlap, declared.zone) == ("latest", "allow", "UTC")
    declared.require_enqueueable()


def test_the_projects_zone_is_the_default(settings):
    recurring("@daily")(reports.recount)
    settings.TIME_ZONE = "Europe/Berlin"
    assert schedules.declared()[TARGET].columns()["timezone"] == "Europe/Berlin"


def test_an_interval_and_the_options_of_its_attempts():
    options: Any = {"timeout": timedelta(minutes=1), "max_attempts": 3, "limit_key": "recount"}
    recurring(every=timedelta(minutes=90), expires="next tick", **options)(reports.recount)
    [declared] = schedules.declared().values()
    assert declared.times == ("", timedelta(minutes=90))
    assert declared.options == {
        "expires": "next tick",
        "timeout": 60.0,
        "max_attempts": 3,
        "limit_key": "recount",
    }
    declared.require_enqueueable()


def test_an_interval_is_counted_from_the_first_declaration(at_home):
    store = store_for(at_home)
    recurring(every=5400)(reports.recount)
    for _ in range(2):
        assert schedules.declare(store) == {TARGET}
        row = store.database.schedules.get()
        made = made_at(row.pk)
        assert made is not None
        assert row.next_tick == made.replace(microsecond=0) + timedelta(minutes=90)
    store.database.schedules.update(next_tick=store.database.now())
    [ticked] = store.schedules.enqueue_ticks([TARGET])
    assert ticked.attempt is not None
    assert store.database.schedules.get().next_tick == row.next_tick


def test_static_and_class_methods_may_recur():
    method = vars(clients.OrderClient)["fulfill"]
    arguments = {"customer_token": "token", "order_number": 1}
    assert recurring("@daily", method_args=arguments)(method) is method
    [declared] = schedules.declared().values()
    assert declared.target == "tests.shop.clients.OrderClient.fulfill"
    declared.require_enqueueable()


def test_a_target_may_have_several_schedules_with_names():
    recurring("0 3 * * *", name="early")(recurring("0 4 * * *", name="late")(reports.recount))
    assert set(schedules.declared()) == {"early", "late"}


def test_a_module_may_be_loaded_again():
    for _ in range(2):
        recurring("0 3 * * *")(reports.recount)
    assert len(schedules.declared()) == 1


def test_two_without_names_are_refused():
    recurring("0 3 * * *")(reports.recount)
    with pytest.raises(InvalidOption, match=r"name: .*recount has two schedules named"):
        recurring("0 4 * * *")(reports.recount)


@pytest.mark.parametrize("name", [None, "nightly"])
@pytest.mark.parametrize("other", [{"timezone": "Asia/Tokyo"}, {"method_args": [1]}])
def test_a_second_one_never_takes_the_place_of_the_first(name, other):
    recurring("0 3 * * *", name=name)(reports.recount)
    with pytest.raises(InvalidOption, match="give the second a name"):
        recurring("0 3 * * *", name=name, **other)(reports.recount)
    assert len(schedules.declared()) == 1


def test_a_module_that_is_loaded_again_may_declare_something_else(monkeypatch):
    recurring("0 3 * * *")(reports.recount)
    monkeypatch.setattr(reports, "__spec__", ModuleSpec(reports.__name__, None))
    recurring("0 4 * * *")(reports.recount)
    assert [declared.cron for declared in schedules.declared().values()] == ["0 4 * * *"]


def test_a_name_is_one_targets():
    recurring("0 3 * * *", name="nightly")(reports.recount)
    with pytest.raises(InvalidOption, match=r"name: 'nightly' is the schedule of .*recount"):
        recurring("0 3 * * *", name="nightly")(reports.report)


@pytest.mark.parametrize(
    ("cron", "options", "told"),
    [
        ("61 * * * *", {}, "cron: "),
        ("0 0 30 2 *", {}, "cron: "),
        ("", {}, "cron: must be"),
        (5, {}, "cron: must be"),
        ("@daily", {"timezone": "Mars/Base"}, "timezone: "),
        ("@daily", {"catch_up": "all"}, "catch_up: must be 'latest' or 'none'"),
        ("@daily", {"overlap": True}, "overlap: must be 'allow' or 'skip'"),
        ("@daily", {"name": ""}, "name: must be"),
        ("@daily", {"every": 60}, "every: a schedule has a cron or an interval"),
        (None, {}, "cron: must be given"),
        (None, {"every": 0.5}, "every: must be whole seconds"),
        (None, {"every": "hourly"}, "every: must be whole seconds"),
        (None, {"every": timedelta(days=4000)}, "every: must be whole seconds"),
        ("@daily", {"expires": "soon"}, "expires: must be 'next tick'"),
        ("@daily", {"expires": 0}, "expires: must be"),
        ("@daily", {"timeout": timedelta(0)}, "timeout: must be"),
        ("@daily", {"max_attempts": 1.5}, "max_attempts: must be"),
        ("@daily", {"keep_result": 1}, "keep_result: must be"),
        ("@daily", {"metadata": {"a": object()}}, "metadata: must be a dict of plain JSON"),
        ("@daily", {"limit_key": "k" * 256}, "limit_key: must have"),
        ("@daily", {"time_out": 1}, "did you mean 'timeout'"),
        ("@daily", {"name": "n" * 256}, "name: must be"),
    ],
)
def test_an_option_that_is_wrong_is_named(cron, options, told):
    with pytest.raises(InvalidOption, match=told):
        recurring(cron, **options)(reports.recount)
    assert schedules.declared() == {}


def test_arguments_of_no_kind_are_refused():
    with pytest.raises(InvalidArguments, match="method_args"):
        recurring("@daily", method_args=1)(reports.recount)


def test_what_has_no_name_is_refused():
    with pytest.raises(InvalidTarget, match="no name that leads to it"):
        recurring("@daily")(lambda: None)


@pytest.mark.parametrize(
    ("target", "options", "told"),
    [
        (clients.OrderClient, {}, "OrderClient"),
        (reports.recount, {"method_args": [1]}, "recount"),
        (reports.recount, {"queue": "nowhere"}, "queue: 'nowhere'"),
        (reports.recount, {"priority": "urgent"}, "priority: 'urgent'"),
        (reports.recount, {"metadata": {"a": "x" * 20_000}}, "metadata: takes"),
    ],
)
def test_what_can_not_be_enqueued_is_left_out_and_told(db, caplog, target, options, told):
    recurring("@daily", **options)(target)
    recurring("@daily", name="another")(reports.recount)
    assert schedules.declare(store_for("default")) == {"another"}
    assert [row.name for row in Schedule._base_manager.all()] == ["another"]
    assert "left out: " in caplog.text
    assert told in caplog.text


def test_the_setting_declares_too_and_is_first(settings):
    recurring("0 3 * * *", name="nightly")(reports.recount)
    nightly = {"cron": "0 2 * * *", "target": TARGET, "method_args": {"a": 1}}
    settings.ASYNC_ATTEMPTS = settings.ASYNC_ATTEMPTS | {"SCHEDULES": {"nightly": nightly}}
    [declared] = schedules.declared().values()
    assert (declared.source, declared.cron) == ("settings", "0 2 * * *")
    assert declared.arguments == Arguments(a=1)
    often = {"every": 5400, "target": TARGET, "expires": 60, "max_attempts": 2}
    settings.ASYNC_ATTEMPTS = settings.ASYNC_ATTEMPTS | {"SCHEDULES": {"nightly": often}}
    [declared] = schedules.declared().values()
    assert declared.times == ("", timedelta(minutes=90))
    assert declared.options == {"expires": 60.0, "max_attempts": 2}


def test_operators_do_by_name(at_home):
    store = store_for(at_home)
    with override_settings(TIME_ZONE="Europe/Berlin"):
        recurring("0 3 * * *", name="nightly")(reports.recount)
        schedules.declare(store)
    schedules.pause("nightly")
    assert store.database.schedules.get().is_paused
    attempt = schedules.enqueue_now("nightly")
    assert (attempt.schedule, attempt.priority) == ("nightly", 7)
    schedules.resume("nightly")
    assert not store.database.schedules.get().is_paused
    with pytest.raises(InvalidOption, match=r"name: 'nightley' is no schedule; there are: nightly"):
        schedules.pause("nightley")


def test_a_name_that_the_database_refuses_is_logged_and_left_out(at_home, monkeypatch, caplog):
    store = store_for(at_home)
    recurring("0 3 * * *", name="nightly")(reports.recount)
    monkeypatch.setattr(store.schedules, "declare", lambda declared: {*declared})
    assert schedules.declare(store) == frozenset()
    assert "schedule nightly: left out: name: " in caplog.text

"""Where attempts go, and with what: operators' routes, and the defaults of queues."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.test import override_settings

from async_attempts import (
    Attempt,
    InvalidOption,
    attemptable,
    call,
    enqueue,
    enqueue_many,
    parallel,
    recurring,
    schedules,
)
from async_attempts.conf import settings as attempts_settings
from async_attempts.store import store_for
from tests.roof.events import emitted
from tests.shop import effects, flows, follow_ups
from tests.shop.models import Order
from tests.shop.reports import recount, report
from tests.worker.helpers.attempts import drain


def routed(queues=(), **routes):
    declared: dict[str, Any] = {
        name: {} for name in ("default", "emails", "fulfilment", "routed")
    } | dict(queues)
    given = {"KEYS": attempts_settings().KEYS, "QUEUES": declared, "ROUTES": routes}
    return override_settings(ASYNC_ATTEMPTS=given)


def queue_in_row(attempt):
    return Attempt.objects.using(attempt._state.db).get(pk=attempt.pk).queue


def test_a_route_wins_over_the_decorator_and_the_call_over_the_route(database):
    mail = call(effects.act_by_mail).using(database=database)
    with routed(**{"tests.shop.effects.*": "routed"}):
        assert queue_in_row(mail.enqueue()) == "routed"
        assert queue_in_row(mail.using(queue="fulfilment").enqueue()) == "fulfilment"
        row = Attempt.objects.using(database).create(target=effects, method_name="act_by_mail")
        assert queue_in_row(row) == "routed"
    assert queue_in_row(mail.enqueue()) == "emails"


@pytest.mark.django_db
def test_rows_of_one_template_follow_a_changed_route():
    assert enqueue(effects.act).queue == "default"
    with routed(**{"*.act": "routed"}):
        assert queue_in_row(enqueue(effects.act)) == "routed"
        assert {one.queue for one in enqueue_many([call(effects.act)] * 2)} == {"routed"}
    assert queue_in_row(enqueue(effects.act)) == "default"


def test_flows_events_methods_and_follow_ups_go_by_it(database, transactional_db):
    order = Order.objects.using(database).create(number=1)
    routes = {"*.flows.build": "routed", "*.keep_journal": "routed", "*.fail_to_mark": "fulfilment"}
    with routed(**routes, **{"tests.shop.models.Order.*": "routed"}):
        flow = parallel(call(flows.fetch, 1).using(database=database)).then(flows.build)
        assert flow.enqueue().queue == "routed"
        found = {one.method_name: one.queue for one in emitted(database, order_id=1, amount=1)}
        assert found["keep_journal"] == "routed"
        assert found["send_receipt"] == "default"
        method = call(order.send).using(database=database)
        assert queue_in_row(method.enqueue()) == "routed"
        call(follow_ups.deliver_twice_followed, 1).using(database=database).enqueue()
        drain(database, queues="default")
        rows = Attempt.objects.using(database)
        assert rows.get(method_name="fail_to_mark").queue == "fulfilment"


@pytest.mark.parametrize(("own", "queue"), [(None, "routed"), ("emails", "emails")])
def test_schedules_go_by_it_unless_they_say(at_home, monkeypatch, own, queue):
    monkeypatch.setattr(schedules, "_in_code", {})
    recurring("0 3 * * *", name="nightly", queue=own)(recount)
    schedules.declare(store_for(at_home))
    with routed(**{"*.recount": "routed"}):
        assert schedules.enqueue_now("nightly", database=at_home).queue == queue


def test_the_defaults_of_a_queue_fill_in_a_row(database):
    defaults = {"priority": "high", "keep_result": True, "expires_after": timedelta(hours=1)}
    with routed({"default": {"defaults": defaults}, "emails": {"defaults": {"priority": 3}}}):
        row = call(effects.act).using(database=database).enqueue()
        row = Attempt.objects.using(database).get(pk=row.pk)
        assert (row.priority, row.keep_result) == (50, True)
        assert row.expires_at is not None
        left = (row.expires_at - row.created_at).total_seconds()
        assert left == pytest.approx(3600, abs=60)
        given = call(effects.act).using(database=database, priority=0, keep_result=False).enqueue()
        assert (given.priority, given.keep_result) == (0, False)
        # The author's 50 and four hours stay.
        of_author = call(report).using(database=database).enqueue()
        assert (of_author.queue, of_author.priority) == ("emails", 50)


def test_a_handed_result_is_kept_whatever_the_queue_says(database):
    with routed({"default": {"defaults": {"keep_result": False}}}):
        call(flows.fetch, 1).using(database=database).then(flows.increase).enqueue()
        rows = Attempt.objects.using(database)
        assert rows.get(method_name="fetch").keep_result


@pytest.mark.parametrize("queue", ["improts", ["emails"], 7])
def test_a_queue_that_is_not_declared_is_refused_as_before(database, queue):
    with pytest.raises(InvalidOption, match=r"queue: .*not declared"):
        call(effects.act).using(database=database, queue=queue).enqueue()
    assert not Attempt.objects.using(database).exists()


def test_crashes_are_for_the_decorator_alone():
    with pytest.raises(InvalidOption, match=r"max_crashes: belongs on the target's @attemptable"):
        call(effects.act).use().using(max_crashes=1)
    assert callable(attemptable(max_crashes=1))


def test_the_terminal_lists_the_targets_with_what_decides(capsys):
    with routed(**{"tests.shop.effects.act_*": "routed"}):
        call_command("attempts", "routes")
    head, *lines = [line.split(maxsplit=2) for line in capsys.readouterr().out.splitlines()]
    assert head == ["TARGET", "QUEUE", "BY"]
    said = {name: (queue, by) for name, queue, by in lines}
    rule = "ASYNC_ATTEMPTS['ROUTES']['tests.shop.effects.act_*']"
    assert said["tests.shop.effects.act_by_mail"] == ("routed", rule)
    assert said["tests.shop.effects.act"] == ("default", "nothing: 'default' by default")
    assert said["tests.shop.reports.report"] == ("emails", "its decorator")
    assert [name for name, *_ in lines] == sorted(said)


def test_a_target_that_only_the_setting_names_is_listed(capsys):
    with override_settings(ASYNC_ATTEMPTS={"TARGETS": ["math.sqrt", "json.*"]}):
        call_command("attempts", "routes")
    out = capsys.readouterr().out
    assert "math.sqrt" in out
    assert "json" not in out

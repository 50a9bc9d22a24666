"""The defaults of a queue, and routes, as the settings give them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import override_settings

from async_attempts import Backoff, InvalidOption, attemptable
from async_attempts.conf import defaults_of, settings
from async_attempts.exceptions import InvalidSetting
from async_attempts.targets import Policy, crashes_allowed, queue_of


def given(**keys):
    return override_settings(ASYNC_ATTEMPTS=keys)


def queues(**defaults):
    return given(QUEUES={"default": {}, "mails": {"defaults": defaults}})


def test_a_queue_without_defaults_has_those_of_the_settings():
    with given(DEFAULT_MAX_ATTEMPTS=7, DEFAULT_TIMEOUT=8, MAX_CRASHES=9):
        found = defaults_of("default")
        assert (found.max_attempts, found.timeout, found.max_crashes) == (7, 8.0, 9)
        assert (found.backoff, found.priority, found.expires_after) == (None, None, None)


def test_a_queue_s_own_win_over_those_of_the_settings():
    own = {"max_attempts": 2, "timeout": timedelta(minutes=1), "max_crashes": 1, "priority": "high"}
    with queues(**own):
        found = defaults_of("mails")
        assert (found.max_attempts, found.timeout, found.max_crashes) == (2, 60.0, 1)
        assert (found.priority, defaults_of("default").max_attempts) == ("high", 25)


def test_the_backoff_of_a_queue_may_say_how_often():
    with queues(backoff=Backoff(max_attempts=3)):
        assert defaults_of("mails").max_attempts == 3
    with queues(backoff=Backoff(max_attempts=3), max_attempts=4):
        assert defaults_of("mails").max_attempts == 4


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("max_attempts", 0, "a whole number, 1 or more"),
        ("max_crashes", True, "a whole number, 1 or more"),
        ("timeout", 0, "seconds or a timedelta, over zero"),
        ("expires_after", "soon", "seconds or a timedelta, over zero"),
        ("backoff", 30, "a Backoff"),
        ("keep_result", 1, "True or False"),
        ("priority", 101, "a whole number from -100 to 100"),
        ("priority", "hihg", "did you mean 'high'"),
    ],
)
def test_what_a_default_can_t_be_is_refused_by_its_path(name, value, expected):
    with queues(**{name: value}), pytest.raises(InvalidSetting, match=expected) as raised:
        settings()
    assert str(raised.value).startswith(f"ASYNC_ATTEMPTS['QUEUES']['mails']['defaults'][{name!r}]")


def test_an_unknown_default_is_refused_with_the_nearest():
    with queues(max_atempts=1), pytest.raises(InvalidSetting, match="did you mean 'max_attempts'"):
        settings()


@pytest.mark.parametrize("defaults", [[], None, "timeout"])
def test_defaults_are_a_dict(defaults):
    with given(QUEUES={"x": {"defaults": defaults}}), pytest.raises(InvalidSetting, match="a dict"):
        settings()


def test_the_target_s_crashes_win_over_the_queue_s():
    with queues(max_crashes=2):
        assert crashes_allowed(Policy(max_crashes=5), "mails") == 5
        assert crashes_allowed(Policy(), "mails") == 2
        assert crashes_allowed(None, "mails") == 2
        assert crashes_allowed(None, "default") == 3


@pytest.mark.parametrize("wrong", [0, 1.5, "1", True])
def test_crashes_are_a_whole_number(wrong):
    with pytest.raises(InvalidOption, match="max_crashes"):
        attemptable(max_crashes=wrong)


ROUTES = {"shop.imports.prices": "slow", "shop.imports.*": "imports", "*.Order.*": "orders"}
ROUTED: dict[str, Any] = {
    "QUEUES": {name: {} for name in ("default", "slow", "imports", "orders", "mails")}
}


@pytest.mark.parametrize(
    ("name", "queue"),
    [
        ("shop.imports.prices", "slow"),
        ("shop.imports.stock", "imports"),
        ("shop.imports.Feed.read", "imports"),
        ("shop.models.Order.send", "orders"),
        ("shop.Imports.stock", "mails"),
        ("shop.imports", "mails"),
    ],
)
def test_the_first_route_that_matches_wins_over_the_decorator(name, queue):
    with given(ROUTES=ROUTES, **ROUTED):
        assert queue_of(name, Policy(queue="mails")) == queue


def test_without_a_route_the_decorator_says_and_then_the_default():
    assert queue_of("shop.imports.stock", Policy(queue="mails")) == "mails"
    assert queue_of("shop.imports.stock", Policy()) == "default"


@pytest.mark.parametrize(
    ("routes", "expected"),
    [
        ({"shop.*": "improts"}, r"\['ROUTES'\]\['shop.\*'\].*'improts'.*did you mean 'imports'"),
        ({"shop.*": None}, r"\['ROUTES'\]\['shop.\*'\].*not declared"),
        ({"shop.*": ["imports"]}, r"\['ROUTES'\]\['shop.\*'\].*not declared"),
        ({7: "imports"}, "dotted names or globs"),
        ([("shop.*", "imports")], "a dict of dotted names"),
    ],
)
def test_routes_that_lead_nowhere_are_refused(routes, expected):
    with given(ROUTES=routes, **ROUTED), pytest.raises(InvalidSetting, match=expected):
        settings()

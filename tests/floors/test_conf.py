"""The setting ASYNC_ATTEMPTS: what it may say, and what it is told when it says it wrongly."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.test import override_settings

from async_attempts.conf import settings
from async_attempts.exceptions import InvalidOption, InvalidSetting

KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
DAY = 86_400


def with_setting(**given: Any) -> override_settings:
    return override_settings(ASYNC_ATTEMPTS=given)


def notify(attempt: object, error: BaseException) -> None:
    """What ON_ERROR may name."""


def test_what_is_not_said_has_a_default():
    with with_setting():
        assert settings().QUEUES == {"default": {}}
        assert settings().PRIORITIES == {"low": -50, "normal": 0, "high": 50}
        assert settings().DEFAULT_MAX_ATTEMPTS == 25
        assert settings().DEFAULT_TIMEOUT == 300
        assert settings().MAX_ARGS_BYTES == 65_536
        assert settings().LEASE == 30
        assert settings().POLL_INTERVAL is None
        assert settings().NOTIFY is True
        assert settings().MAX_CRASHES == 3
        assert settings().KEEP == {"succeeded": 7 * DAY, "expired": 30 * DAY, "failed": None}
        assert (settings().KEYS, settings().CIPHER, settings().TARGETS) == ((), None, ())
        assert (settings().ON_ERROR, settings().DATABASE) == (None, None)
        assert settings().SCHEDULES == {}


def test_the_whole_setting_may_be_left_out():
    with override_settings():
        del django_settings.ASYNC_ATTEMPTS
        settings.cache_clear()
        assert settings().DEFAULT_MAX_ATTEMPTS == 25
    settings.cache_clear()


@pytest.mark.parametrize(
    ("key", "given", "read"),
    [
        ("KEYS", [KEY], (KEY,)),
        ("CIPHER", "async_attempts.encryption.NullCipher", "async_attempts.encryption.NullCipher"),
        ("TARGETS", ["shop.clients.*"], ("shop.clients.*",)),
        ("QUEUES", {"emails": {"concurrency": 5}}, {"emails": {"concurrency": 5}}),
        ("PRIORITIES", {"urgent": 100, "idle": -100}, {"urgent": 100, "idle": -100}),
        ("DEFAULT_MAX_ATTEMPTS", 1, 1),
        ("DEFAULT_TIMEOUT", 2.5, 2.5),
        ("DEFAULT_TIMEOUT", timedelta(minutes=1), 60),
        ("MAX_ARGS_BYTES", 1_000, 1_000),
        ("LEASE", 10, 10),
        ("POLL_INTERVAL", timedelta(milliseconds=100), 0.1),
        ("NOTIFY", False, False),
        ("MAX_CRASHES", 1, 1),
        (
            "KEEP",
            {"succeeded": timedelta(days=1), "failed": 60},
            {"succeeded": DAY, "expired": 30 * DAY, "failed": 60},
        ),
        ("KEEP", {"expired": None}, {"succeeded": 7 * DAY, "expired": None, "failed": None}),
        ("ON_ERROR", notify, notify),
        ("ON_ERROR", None, None),
        ("ON_ERROR", f"{__name__}.notify", notify),
        ("SCHEDULES", {"nightly": {"cron": "0 2 * * *"}}, {"nightly": {"cron": "0 2 * * *"}}),
        ("DATABASE", "attempts", "attempts"),
    ],
)
def test_each_key_is_read(key: str, given: Any, read: Any):
    with with_setting(**{key: given}):
        assert getattr(settings(), key) == read


@pytest.mark.parametrize(
    ("key", "given"),
    [
        ("KEYS", KEY),
        ("KEYS", [1]),
        ("KEYS", None),
        ("CIPHER", 1),
        ("TARGETS", "shop.clients.*"),
        ("QUEUES", ["default"]),
        ("QUEUES", {}),
        ("QUEUES", {"": {}}),
        ("QUEUES", {"a,b": {}}),
        ("QUEUES", {"*": {}}),
        ("QUEUES", {"q" * 65: {}}),
        ("QUEUES", {1: {}}),
        ("QUEUES", {"default": None}),
        ("QUEUES", {"default": {"concurency": 5}}),
        ("PRIORITIES", ["low"]),
        ("PRIORITIES", {"low": -101}),
        ("PRIORITIES", {"high": 101}),
        ("PRIORITIES", {"high": "50"}),
        ("PRIORITIES", {"high": True}),
        ("PRIORITIES", {50: 50}),
        ("DEFAULT_MAX_ATTEMPTS", 0),
        ("DEFAULT_MAX_ATTEMPTS", 2.0),
        ("DEFAULT_MAX_ATTEMPTS", True),
        ("DEFAULT_TIMEOUT", 0),
        ("DEFAULT_TIMEOUT", -1),
        ("DEFAULT_TIMEOUT", "300"),
        ("DEFAULT_TIMEOUT", None),
        ("DEFAULT_TIMEOUT", float("nan")),
        ("DEFAULT_TIMEOUT", float("inf")),
        ("MAX_ARGS_BYTES", "64k"),
        ("LEASE", 0),
        ("LEASE", True),
        ("POLL_INTERVAL", timedelta(0)),
        ("NOTIFY", 1),
        ("MAX_CRASHES", 0),
        ("KEEP", 7),
        ("KEEP", {"pending": 7}),
        ("KEEP", {"failed": -1}),
        ("KEEP", {"failed": "a week"}),
        ("ON_ERROR", 1),
        ("ON_ERROR", "tests.shop.clients.no_such_function"),
        ("ON_ERROR", "no_dots"),
        ("SCHEDULES", ["nightly"]),
        ("DATABASE", 1),
    ],
)
def test_a_wrong_value_is_refused_by_its_key(key: str, given: Any):
    with with_setting(**{key: given}), pytest.raises(InvalidSetting, match=rf"\['{key}"):
        settings()


@pytest.mark.parametrize(
    ("given", "meant"),
    [("QUEUE", "QUEUES"), ("keys", "KEYS"), ("MAX_ATTEMPTS", "DEFAULT_MAX_ATTEMPTS")],
)
def test_an_unknown_key_is_answered_with_the_nearest(given: str, meant: str):
    with (
        with_setting(**{given: 1}),
        pytest.raises(InvalidSetting, match=rf"\['{given}'\].*'{meant}'"),
    ):
        settings()


def test_a_key_that_is_near_to_none_is_answered_with_all():
    with with_setting(ZZZ=1), pytest.raises(InvalidSetting, match=r"'CIPHER'.*'KEYS'.*'TARGETS'"):
        settings()


def test_an_unknown_option_of_a_queue_is_answered_with_the_nearest():
    with (
        with_setting(QUEUES={"emails": {"concurency": 5}}),
        pytest.raises(InvalidSetting, match=r"\['emails'\]\['concurency'\].*'concurrency'"),
    ):
        settings()


@pytest.mark.parametrize("given", [None, [], "KEYS"])
def test_it_must_be_a_dict(given: Any):
    with (
        override_settings(ASYNC_ATTEMPTS=given),
        pytest.raises(InvalidSetting, match="must be a dict"),
    ):
        settings()


def test_override_settings_is_followed_there_and_back():
    before = settings()
    with with_setting(MAX_CRASHES=7):
        assert settings().MAX_CRASHES == 7
        with with_setting(MAX_CRASHES=8):
            assert settings().MAX_CRASHES == 8
        assert settings().MAX_CRASHES == 7
    assert settings() == before


def test_it_can_not_be_changed_where_it_is_read():
    with pytest.raises(FrozenInstanceError):
        settings().LEASE = 1.0  # type: ignore[misc]
    with pytest.raises(TypeError):
        settings().QUEUES["new"] = {}  # type: ignore[index]


@pytest.mark.parametrize("given", [{"KEYS": [KEY]}, {"KEYS": KEY}, {"KEYS": [KEY, 1]}])
def test_keys_are_never_shown(given: dict[str, Any]):
    with override_settings(ASYNC_ATTEMPTS=given):
        try:
            shown = repr(settings()) + str(settings())
        except InvalidSetting as error:
            shown = str(error)
    assert KEY[:8] not in shown


def test_a_name_of_a_priority_is_its_number():
    with with_setting(PRIORITIES={"urgent": 90}):
        assert settings().priority("urgent") == 90
        with pytest.raises(InvalidOption, match=r"'urgnet'.*'urgent'"):
            settings().priority("urgnet")


@pytest.mark.parametrize("priority", [-101, 101, 1.5, True, None])
def test_a_priority_is_a_whole_number_from_minus_100_to_100(priority: Any):
    with pytest.raises(InvalidOption, match="priority"):
        settings().priority(priority)


@pytest.mark.parametrize("queue", ["email", "", None, ["emails"], 1])
def test_a_queue_must_be_declared(queue: Any):
    with pytest.raises(InvalidOption, match=r"queue:.*QUEUES"):
        settings().queue(queue)

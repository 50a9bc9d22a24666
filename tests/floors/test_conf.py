"""The setting ASYNC_ATTEMPTS: what it may say, and what it is told when it says it wrongly."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import FrozenInstanceError
from datetime import timedelta
from typing import Any, cast

import pytest
from django.conf import settings as django_settings
from django.test import override_settings

from async_attempts import conf
from async_attempts.conf import retention, settings
from async_attempts.exceptions import InvalidOption, InvalidSetting
from async_attempts.retention import FOR_EVER, Keep

KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
DAY = 86_400
NIGHTLY = {"cron": "0 2 * * *", "target": "shop.reports.nightly", "timezone": "Europe/Berlin"}


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
        assert settings().LISTEN_DSN is None
        assert settings().MAX_CRASHES == 3
        kept = {"succeeded": Keep(7 * DAY), "expired": Keep(30 * DAY), "failed": FOR_EVER}
        assert kept == settings().KEEP
        assert (settings().KEYS, settings().KEYS_FILE) == ((), None)
        assert (settings().CIPHER, settings().TARGETS) == (None, ())
        assert (settings().ON_ERROR, settings().METRICS) == (None, None)
        assert settings().DATABASE is None
        assert settings().SCHEDULES == {}


def test_the_whole_setting_may_be_left_out():
    forget = cast("Any", settings).cache_clear
    with override_settings():
        del django_settings.ASYNC_ATTEMPTS
        forget()
        assert settings().DEFAULT_MAX_ATTEMPTS == 25
    forget()


@pytest.mark.parametrize(
    ("key", "given", "read"),
    [
        ("KEYS", [KEY], (KEY,)),
        ("KEYS_FILE", "/run/keys", "/run/keys"),
        ("KEYS_FILE", None, None),
        ("CIPHER", "async_attempts.encryption.NullCipher", "async_attempts.encryption.NullCipher"),
        ("RECIPIENTS", [KEY], (KEY,)),
        ("PRIVATE_KEYS", [KEY], (KEY,)),
        ("PRIVATE_KEYS_FILE", "/run/private", "/run/private"),
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
        ("LISTEN_DSN", "host=db dbname=shop", "host=db dbname=shop"),
        ("LISTEN_DSN", None, None),
        ("MAX_CRASHES", 1, 1),
        (
            "KEEP",
            {"succeeded": timedelta(days=1), "failed": 60},
            {"succeeded": Keep(DAY), "expired": Keep(30 * DAY), "failed": Keep(60)},
        ),
        (
            "KEEP",
            {"succeeded": 0, "expired": {"age": timedelta(days=1), "count": 100}},
            {"succeeded": Keep(0), "expired": Keep(DAY, 100), "failed": FOR_EVER},
        ),
        (
            "KEEP",
            {"succeeded": {"count": 100}, "expired": None},
            {"succeeded": Keep(None, 100), "expired": FOR_EVER, "failed": FOR_EVER},
        ),
        (
            "QUEUES",
            {"emails": {"keep": {"succeeded": timedelta(0)}}},
            {"emails": {"keep": {"succeeded": Keep(0)}}},
        ),
        ("IF_GONE", "ignore", "ignore"),
        ("ON_ERROR", notify, notify),
        ("METRICS", notify, notify),
        ("ON_ERROR", None, None),
        ("ON_ERROR", f"{__name__}.notify", notify),
        ("SCHEDULES", {"nightly": NIGHTLY}, {"nightly": NIGHTLY}),
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
        ("LISTEN_DSN", ""),
        ("LISTEN_DSN", {"host": "db"}),
        ("MAX_CRASHES", 0),
        ("IF_GONE", "skip"),
        ("IF_GONE", None),
        ("IF_GONE", ["fail"]),
        ("KEEP", 7),
        ("KEEP", {"pending": 7}),
        ("KEEP", {"failed": -1}),
        ("KEEP", {"failed": "a week"}),
        ("KEEP", {"failed": 0}),
        ("KEEP", {"expired": {"age": 0}}),
        ("KEEP", {"succeeded": {}}),
        ("KEEP", {"succeeded": {"ages": 5}}),
        ("KEEP", {"succeeded": {"count": 0}}),
        ("KEEP", {"succeeded": {"count": True}}),
        ("KEEP", {"succeeded": True}),
        ("KEEP", {"succeeded": float("nan")}),
        ("KEEP", {"succeeded": 10**10}),
        ("QUEUES", {"emails": {"keep": 5}}),
        ("ON_ERROR", 1),
        ("ON_ERROR", "tests.shop.clients.no_such_function"),
        ("ON_ERROR", "no_dots"),
        ("SCHEDULES", ["nightly"]),
        ("SCHEDULES", {"": NIGHTLY}),
        ("SCHEDULES", {"n" * 256: NIGHTLY}),
        ("SCHEDULES", {"nightly": "0 2 * * *"}),
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


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("mail", "Mail"),
        ("mail", "mail "),
        ("cafe", "café"),
        ("café", "cafe\N{COMBINING ACUTE ACCENT}"),
        ("strasse", "Straße"),
        ("mail", "ma\N{SOFT HYPHEN}il"),
        ("mail", "\N{FULLWIDTH LATIN SMALL LETTER M}ail"),
    ],
)
def test_queues_that_a_collation_takes_for_one_are_refused(one, other):
    with (
        with_setting(QUEUES={"default": {}, one: {}, other: {}}),
        pytest.raises(InvalidSetting, match=re.escape(f"{one!r} and {other!r} differ in nothing")),
    ):
        settings()


def test_queues_that_every_collation_tells_apart_are_allowed():
    names = ["mail", "mails", "e-mail", "mail 2", " mail", "почта"]
    with with_setting(QUEUES={name: {} for name in names}):
        assert list(settings().QUEUES) == names


def test_an_unknown_option_of_a_queue_is_answered_with_the_nearest():
    with (
        with_setting(QUEUES={"emails": {"concurency": 5}}),
        pytest.raises(InvalidSetting, match=r"\['emails'\]\['concurency'\].*'concurrency'"),
    ):
        settings()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"cron": "61 2 * * *"}, r"\['cron'\]: '61 2 .*out of range"),
        ({"cron": "0 0 30 2 *"}, r"\['cron'\]: .*no year has"),
        ({"cron": None}, r"\['cron'\] must be given"),
        ({"every": 60}, r"\['every'\]: a schedule has a cron or an interval"),
        ({"cron": None, "every": 0.5}, r"\['every'\]: must be whole seconds"),
        ({"target": None}, r"\['target'\] must be given"),
        ({"timezone": "Europe/Berln"}, r"\['timezone'\]: .*'Europe/Berlin'"),
        ({"timezone": ""}, r"\['timezone'\]: "),
        ({"timezone": 1}, r"\['timezone'\]: "),
        ({"catch_up": "all"}, r"\['catch_up'\] must be 'latest' or 'none'"),
        ({"overlap": "queue"}, r"\['overlap'\] must be 'allow' or 'skip'"),
        ({"time_zone": "UTC"}, r"\['time_zone'\] is unknown; did you mean 'timezone'"),
    ],
)
def test_an_option_of_a_schedule_that_is_wrong_is_named(options: dict[str, Any], told: str):
    with (
        with_setting(SCHEDULES={"nightly": NIGHTLY | options}),
        pytest.raises(InvalidSetting, match=rf"\['SCHEDULES'\]\['nightly'\]{told}"),
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


@pytest.fixture
def caches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conf, "_caches", defaultdict(list))


@pytest.mark.usefixtures("caches")
def test_a_cached_value_is_kept_until_one_of_its_settings_changes():
    read: list[str] = []

    @conf.cached("LANGUAGE_CODE", "TIME_ZONE")
    def greeting(name: str) -> str:
        read.append(name)
        return f"{name}, {django_settings.LANGUAGE_CODE}"

    with override_settings(LANGUAGE_CODE="de"):
        assert [greeting("Ada"), greeting("Ada"), greeting("Alan")] == ["Ada, de"] * 2 + [
            "Alan, de"
        ]
        assert read == ["Ada", "Alan"]
        with override_settings(USE_TZ=False):
            greeting("Ada")
        assert read == ["Ada", "Alan"]
        with override_settings(TIME_ZONE="UTC"):
            greeting("Ada")
        assert read == ["Ada", "Alan", "Ada"]
    greeting("Ada")
    assert read == ["Ada", "Alan", "Ada", "Ada"]


@pytest.mark.usefixtures("caches")
def test_what_a_cached_function_raises_is_not_kept():
    answers: list[Any] = [InvalidSetting("not yet"), "now"]

    @conf.cached("LANGUAGE_CODE")
    def answer() -> Any:
        if isinstance(first := answers.pop(0), Exception):
            raise first
        return first

    with pytest.raises(InvalidSetting):
        answer()
    assert [answer(), answer()] == ["now", "now"]


@pytest.mark.usefixtures("caches")
def test_a_cache_of_another_shape_is_emptied_with_the_others():
    kept = {"a": 1}
    conf.forget_on(kept.clear, "LANGUAGE_CODE")
    with override_settings(TIME_ZONE="UTC"):
        assert kept
    with override_settings(LANGUAGE_CODE="de"):
        assert not kept


def test_it_can_not_be_changed_where_it_is_read():
    frozen: Any = settings()
    with pytest.raises(FrozenInstanceError):
        frozen.LEASE = 1.0
    with pytest.raises(TypeError):
        frozen.QUEUES["new"] = {}


@pytest.mark.parametrize(
    "given",
    [
        {"KEYS": [KEY]},
        {"KEYS": KEY},
        {"KEYS": [KEY, 1]},
        {"LISTEN_DSN": f"password={KEY}"},
        {"LISTEN_DSN": [KEY]},
        {"SCHEDULES": {"nightly": NIGHTLY | {"method_args": [KEY]}}},
        {"SCHEDULES": {"nightly": [KEY]}},
    ],
)
def test_secrets_are_never_shown(given: dict[str, Any]):
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


@pytest.mark.parametrize(
    ("keep", "named"),
    [
        ({"pending": 5}, "['pending'] is no final status; known are 'expired', 'failed'"),
        ({"failed": timedelta(0)}, "['failed'] must be more than 0"),
        ({"succeeded": {"age": -1}}, "['succeeded']['age'] must be seconds or a timedelta"),
        ({"succeeded": {"count": 2.5}}, "['succeeded']['count'] must be a whole number"),
        ({"succeeded": {"number": 5}}, "['succeeded']['number'] is unknown"),
    ],
)
def test_what_is_wrong_in_a_queues_keep_is_named(keep: Any, named: str):
    with with_setting(QUEUES={"emails": {"keep": keep}}), pytest.raises(InvalidSetting) as refused:
        settings()
    assert f"ASYNC_ATTEMPTS['QUEUES']['emails']['keep']{named}" in str(refused.value)


def test_a_queue_keeps_what_it_says_and_else_what_all_do():
    queues = {"default": {}, "emails": {"keep": {"succeeded": 0}}}
    with with_setting(QUEUES=queues, KEEP={"failed": 60}):
        kept = retention()
        assert kept.of("default")["succeeded"] == Keep(7 * DAY)
        assert kept.of("emails") == {
            "succeeded": Keep(0),
            "expired": Keep(30 * DAY),
            "failed": Keep(60),
        }
        assert kept.of("a queue of an older release") == kept.of("default")
        assert kept.is_to_be_pruned_soon
    with with_setting():
        assert not retention().is_to_be_pruned_soon

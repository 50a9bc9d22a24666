"""What Django's error pages and mails show of the setting ASYNC_ATTEMPTS."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.core.checks import run_checks
from django.test import RequestFactory
from django.utils.log import AdminEmailHandler
from django.views.debug import technical_500_response

from async_attempts import Arguments, InvalidArguments
from async_attempts.encryption import cipher
from async_attempts.exceptions import InvalidSetting
from async_attempts.schedules import declared_in_settings
from async_attempts.store.notifications import params_of
from tests.shown import CANARY, shown_by

DAILY: dict[str, Any] = {"cron": "@daily", "target": "tests.shop.secretive.take"}


@pytest.fixture
def attempts(settings: Any) -> Any:
    """Changes ASYNC_ATTEMPTS for the rest of the test."""

    def change(**given: Any) -> None:
        settings.ASYNC_ATTEMPTS = django_settings.ASYNC_ATTEMPTS | given

    return change


class Mails(AdminEmailHandler):
    """Django's handler, which makes the mails; how they are sent differs between its releases."""

    def __init__(self) -> None:
        super().__init__(include_html=True)
        self.texts: list[str] = []

    def send_mail(self, subject: Any, message: Any, *_: Any, **options: Any) -> None:
        self.texts.append(f"{subject}{message}{options['html_message']}")


def reported() -> str:
    """Django's debug page and its mail to the admins of a view that raised."""
    mails = Mails()
    try:
        raise ValueError("no view")
    except ValueError:
        exc_info = sys.exc_info()
        request = RequestFactory().get("/")
        page = technical_500_response(request, *exc_info).content.decode()
        record = logging.LogRecord("a", logging.ERROR, "", 1, "no", (), exc_info)
        record.request = request
        mails.emit(record)
    (mail,) = mails.texts
    return page + mail


def warnings(*, deploy: bool = False) -> list[str]:
    ours = "async_attempts.W"
    found = [str(one.id) for one in run_checks(include_deployment_checks=deploy)]
    return [identifier for identifier in found if identifier.startswith(ours)]


def test_arguments_of_a_schedule_are_not_shown(attempts):
    given = Arguments(note=CANARY, token=[CANARY])
    attempts(SCHEDULES={"nightly": DAILY | {"method_args": given}})
    text = reported()
    assert "nightly" in text
    assert "Arguments(note=…, token=…)" in text
    assert CANARY not in text
    assert declared_in_settings()["nightly"].arguments == given


@pytest.mark.django_db(databases="__all__")
def test_arguments_that_are_shown_are_told_before_a_deployment(attempts):
    attempts(SCHEDULES={"nightly": DAILY | {"method_args": {"note": CANARY}}})
    assert CANARY in reported()
    assert "async_attempts.W012" not in warnings()
    assert "async_attempts.W012" in warnings(deploy=True)
    hidden_ones: list[dict[str, Any]] = [
        {"method_args": Arguments(note=CANARY)},
        {"method_args": {}},
        {},
    ]
    for hidden in hidden_ones:
        attempts(SCHEDULES={"nightly": DAILY | hidden})
        assert "async_attempts.W012" not in warnings(deploy=True)


@pytest.mark.django_db(databases="__all__")
@pytest.mark.parametrize(
    "dsn",
    [
        f"host=db password={CANARY}",
        f"postgresql://shop:{CANARY}@db/shop",
        f"postgresql://shop@db/shop?password={CANARY}",
        f"host=db sslpassword={CANARY}",
    ],
)
def test_a_password_that_is_shown_is_told(attempts, dsn):
    attempts(LISTEN_DSN=dsn)
    assert CANARY in reported()
    assert "async_attempts.W011" in warnings()
    assert CANARY not in str(run_checks())


@pytest.mark.django_db(databases="__all__")
@pytest.mark.parametrize("dsn", [None, "host=db port=5432", "postgresql://db:5432", "no dsn"])
def test_a_connection_string_without_a_password_is_right(attempts, dsn):
    attempts(LISTEN_DSN=dsn)
    assert "async_attempts.W011" not in warnings()


class Connection:
    """Django's, as far as it says how it connects."""

    def __init__(self, **params: Any) -> None:
        self.params = params

    def get_connection_params(self) -> Mapping[str, Any]:
        return self.params


DJANGOS: dict[str, Any] = {
    "dbname": "shop",
    "user": "shop",
    "password": CANARY,
    "host": "pooler",
    "port": "6432",
    "hostaddr": "10.0.0.1",
    "sslmode": "require",
}


@pytest.mark.parametrize(
    ("dsn", "params"),
    [
        (None, DJANGOS),
        (
            "host=db",
            {
                "dbname": "shop",
                "user": "shop",
                "password": CANARY,
                "host": "db",
                "sslmode": "require",
            },
        ),
        ("sslmode=disable", DJANGOS | {"sslmode": "disable"}),
        ("user=shop dbname=direct", DJANGOS | {"dbname": "direct"}),
        (
            "postgresql://listener@db:5432",
            {
                "dbname": "shop",
                "user": "listener",
                "host": "db",
                "port": "5432",
                "sslmode": "require",
            },
        ),
        ("user=listener password=other", DJANGOS | {"user": "listener", "password": "other"}),
    ],
)
def test_what_a_connection_string_does_not_say_is_as_in_databases(attempts, dsn, params):
    attempts(LISTEN_DSN=dsn)
    assert params_of(Connection(**DJANGOS)) == params


@pytest.mark.parametrize(
    "wrong",
    [
        {"KEYS": [CANARY]},
        {"SCHEDULES": {"a": {**DAILY, "method_args": [CANARY], "cron": "no"}}},
        {"SCHEDULES": {"a": {**DAILY, "method_args": CANARY}}},
        {"SCHEDULES": [{**DAILY, "method_args": [CANARY]}]},
        {"LISTEN_DSN": [CANARY]},
    ],
)
def test_a_wrong_setting_is_told_without_its_secrets(attempts, wrong):
    attempts(**wrong)
    with pytest.raises((InvalidSetting, InvalidArguments)) as raised:
        read()
    assert shown_by(raised.value, but=__name__) == []


def read() -> None:
    cipher()
    declared_in_settings()


def test_arguments_can_be_had_while_the_settings_are_read(tmp_path):
    (tmp_path / "young_settings.py").write_text(
        "from async_attempts import Arguments\n"
        "INSTALLED_APPS = ['async_attempts']\n"
        "SECRET_KEY = 'a'\n"
        "DEBUG = USE_TZ = True\n"
        "ASYNC_ATTEMPTS = {'SCHEDULES': {'a': {'cron': '@daily', 'target': 'os.getcwd', "
        "'method_args': Arguments(token='a')}}}\n"
    )
    code = (
        "import django; django.setup()\n"
        "from async_attempts.schedules import declared_in_settings\n"
        "print(declared_in_settings()['a'].arguments)"
    )
    paths = ":".join([str(tmp_path), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": paths, "DJANGO_SETTINGS_MODULE": "young_settings"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "Arguments(token=…)\n", done.stderr

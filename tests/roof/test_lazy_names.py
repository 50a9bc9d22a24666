"""The public names: loaded when they are used, before and after the project is set up."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.apps import apps
from django.test import override_settings

import async_attempts


def python(program: str, **environment: str) -> str:
    unconfigured = {k: v for k, v in os.environ.items() if k != "DJANGO_SETTINGS_MODULE"}
    child = subprocess.run(
        [sys.executable, "-c", program],
        env=unconfigured | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return child.stdout.strip()


@pytest.mark.parametrize("name", async_attempts.__all__)
def test_every_public_name_is_there(name: str):
    assert getattr(async_attempts, name) is not None
    assert name in dir(async_attempts)


def test_a_star_import_brings_them_all():
    names: dict[str, object] = {}
    exec("from async_attempts import *", names)  # noqa: S102 as a star import needs a module
    assert {*async_attempts.__all__} <= names.keys()


def test_they_are_sorted_and_named_once():
    assert sorted({*async_attempts.__all__}) == async_attempts.__all__


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"'async_attempts'.*'enqeue'"):
        _ = async_attempts.enqeue


def test_the_package_is_imported_without_django_being_set_up():
    told = python(
        "import sys, async_attempts;"
        "from django.conf import settings;"
        "print(settings.configured, 'django.db.models' in sys.modules, dir(async_attempts) != [])"
    )
    assert told == "False False True"


@pytest.mark.parametrize(
    "name",
    "Backoff Snooze Fail Expire DuplicateAttempt attemptable recurring Arguments storable".split(),
)
def test_what_a_target_needs_is_there_before_the_apps_are(name: str):
    """As in an app's `__init__` or its `models`, whatever the order of INSTALLED_APPS."""
    told = python(
        f"from async_attempts import {name};"
        "from django.apps import apps;"
        f"print({name}.__name__, apps.ready)"
    )
    assert told == f"{name} False"


APP_FIRST = """
from django.conf import settings
settings.configure(SECRET_KEY="x", INSTALLED_APPS=["first", "async_attempts"])
import django
django.setup()
import async_attempts
from first.models import Attempt
print(Attempt is async_attempts.Attempt, Attempt._meta.label)
"""


def test_the_models_of_an_app_that_is_loaded_first_may_import_them(tmp_path: Path):
    app = tmp_path / "first"
    app.mkdir()
    (app / "__init__.py").touch()
    (app / "models.py").write_text(
        "from async_attempts import Attempt, attemptable, call, enqueue, recurring"
    )
    assert python(APP_FIRST, PYTHONPATH=str(tmp_path)) == "True async_attempts.Attempt"


def test_attempt_is_the_model_in_use():
    assert async_attempts.Attempt is apps.get_model("async_attempts.Attempt")
    with override_settings(ASYNC_ATTEMPTS_ATTEMPT_MODEL="shop.Order"):
        assert async_attempts.Attempt._meta.label == "shop.Order"
    assert async_attempts.Attempt is apps.get_model("async_attempts.Attempt")

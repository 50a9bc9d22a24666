"""What the design asks of the code as a whole, beside the floors that `lint-imports` checks."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path

import pytest

import async_attempts

PACKAGE = Path(async_attempts.__file__).parent
GROUND = [
    name
    for name in (
        "lifecycle",
        "limits",
        "retention",
        "backoff",
        "cron",
        "ids",
        "printable",
        "signals",
        "suggestions",
        "exceptions",
        "values",
        "pauses",
        "batches",
    )
    if find_spec(f"async_attempts.{name}")
]
FILES = sorted(PACKAGE.rglob("*.py"))


def _id(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


@pytest.mark.parametrize("module", GROUND)
def test_ground_needs_no_settings(module):
    """It is imported where Django has no settings, and asks for none."""
    unconfigured = {k: v for k, v in os.environ.items() if k != "DJANGO_SETTINGS_MODULE"}
    check = (
        f"import async_attempts.{module};"
        "from django.conf import settings;"
        "assert not settings.configured"
    )
    subprocess.run([sys.executable, "-c", check], env=unconfigured, check=True)


def test_importing_the_package_loads_no_models():
    """Its public names are lazy, so it can be imported before the app registry is ready."""
    check = "import async_attempts, sys; assert 'async_attempts.models' not in sys.modules"
    subprocess.run([sys.executable, "-c", check], check=True)


@pytest.mark.parametrize("path", [f for f in FILES if f.parent.name != "migrations"], ids=_id)
def test_no_file_is_longer_than_400_lines(path):
    assert len(path.read_text().splitlines()) <= 400


@pytest.mark.parametrize("package", [path for path in FILES if path.name == "__init__.py"], ids=_id)
def test_every_package_says_what_it_owns(package):
    assert ast.get_docstring(ast.parse(package.read_text()))


def test_type_checkers_may_use_its_annotations():
    assert (PACKAGE / "py.typed").is_file()


@pytest.mark.skipif(
    "ATTEMPTS_TEST_INSTALLED" not in os.environ, reason="only tox installs the wheel"
)
def test_the_installed_wheel_is_what_is_tested():
    assert PACKAGE.parent == Path(sysconfig.get_path("purelib"))

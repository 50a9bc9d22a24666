"""What the design asks of the code as a whole, beside the floors that `lint-imports` checks."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest

import async_attempts

PACKAGE = Path(async_attempts.__file__).parent
ROOT = Path(__file__).parents[1]
FILES = sorted(PACKAGE.rglob("*.py"))


def contracted_floors() -> list[list[str]]:
    """The modules of each floor by the import contract, the highest floor first."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts = project["tool"]["importlinter"]["contracts"]
    layers = next(one["layers"] for one in contracts if one.get("containers") == ["async_attempts"])
    floors = [re.findall(r"\w+", layer) for layer in layers]
    return [[name for name in floor if find_spec(f"async_attempts.{name}")] for floor in floors]


def _id(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def test_the_documentation_shows_the_floors_of_the_contract():
    text = (ROOT / "docs" / "architecture.md").read_text()
    picture = re.search(r"^```\n(6 .*?)^```", text, re.MULTILINE | re.DOTALL)
    assert picture is not None
    shown = [floor.split()[1:] for floor in re.split(r"\n(?=\d)", picture[1])]
    assert shown == contracted_floors()


@pytest.mark.parametrize("module", contracted_floors()[-1])
def test_the_lowest_floor_needs_no_settings(module):
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

"""What may be imported by a stored name, and that nothing else is."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from async_attempts.exceptions import InvalidTarget, UnknownTarget
from async_attempts.imports import import_class
from async_attempts.targets import decorator, known_policy, registered, target_named
from tests.shop.clients import OrderClient
from tests.shop.legacy import Printer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytest_django import Settings

OUTSIDE = "outside_of_installed_apps"


class Imports:
    """Stands before the finders and notes what was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def find_spec(self, name: str, *_: object) -> None:
        self.asked.append(name)


@pytest.fixture
def imports(monkeypatch: pytest.MonkeyPatch) -> Imports:
    noted = Imports()
    monkeypatch.setattr(sys, "meta_path", [noted, *sys.meta_path])
    return noted


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An importable package with a class that no installed app has."""
    package = tmp_path / OUTSIDE
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "clients.py").write_text("import os\nclass Client: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield f"{OUTSIDE}.clients.Client"
    for name in [n for n in sys.modules if n.split(".")[0] == OUTSIDE]:
        del sys.modules[name]


def test_a_class_in_an_installed_app_is_found():
    assert import_class("tests.shop.clients.OrderClient") is OrderClient


def test_a_class_inside_a_class_is_found():
    assert import_class("tests.shop.clients.OrderClient.Returns") is OrderClient.Returns


def test_a_class_outside_of_the_apps_is_refused_before_anything_is_imported(
    outside: str, imports: Imports
):
    with pytest.raises(InvalidTarget, match="INSTALLED_APPS or name it in ASYNC_ATTEMPTS"):
        import_class(outside)
    assert imports.asked == []
    assert OUTSIDE not in sys.modules


@pytest.mark.parametrize("pattern", [f"{OUTSIDE}.clients.Client", f"{OUTSIDE}.clients.*"])
def test_a_class_outside_of_the_apps_is_found_when_targets_names_it(
    outside: str, pattern: str, settings: Settings
):
    settings.ASYNC_ATTEMPTS = settings.ASYNC_ATTEMPTS | {"TARGETS": [pattern]}
    assert import_class(outside).__qualname__ == "Client"


def test_a_found_class_is_refused_again_when_the_settings_no_longer_name_it(
    outside: str, settings: Settings
):
    plain = settings.ASYNC_ATTEMPTS
    settings.ASYNC_ATTEMPTS = plain | {"TARGETS": [outside]}
    import_class(outside)
    settings.ASYNC_ATTEMPTS = plain
    with pytest.raises(InvalidTarget):
        import_class(outside)


def test_an_app_that_is_no_longer_installed_is_refused(settings: Settings):
    assert import_class("tests.shop.legacy.Printer") is Printer
    settings.INSTALLED_APPS = [app for app in settings.INSTALLED_APPS if app != "tests.shop"]
    with pytest.raises(InvalidTarget):
        import_class("tests.shop.legacy.Printer")


@pytest.mark.parametrize(
    "name",
    [
        "",
        "os",
        "tests.shopping.Client",
        "tests.shop..Client",
        ".tests.shop.clients",
        "tests.shop.clients.__builtins__",
        "tests.shop._hidden.Client",
        "tests.shop.clients.OrderClient.__class__",
        "tests.shop/clients.OrderClient",
        "tests.shop.clients.OrderClient\x00",
    ],
)
def test_a_name_that_is_not_public_or_not_allowed_imports_nothing(name: str, imports: Imports):
    before = set(sys.modules)
    with pytest.raises(InvalidTarget):
        import_class(name)
    assert imports.asked == []
    assert set(sys.modules) == before


@pytest.mark.parametrize(
    "name",
    [
        "tests.shop.clients.os",
        "tests.shop.clients.os.PathLike",
        "tests.shop.clients.send_welcome",
        "tests.shop.clients",
    ],
)
def test_what_is_no_class_of_the_app_is_refused(name: str):
    with pytest.raises(InvalidTarget):
        import_class(name)


@pytest.mark.parametrize(
    "name", ["tests.shop.no_such_module.Client", "tests.shop.clients.NoSuchClient"]
)
def test_what_this_code_does_not_have_is_unknown(name: str):
    with pytest.raises(UnknownTarget, match="no"):
        import_class(name)


def test_a_module_that_is_broken_inside_says_so():
    with pytest.raises(UnknownTarget, match=r"'tests.shop.broken'.*failed inside.*no_such_module"):
        import_class("tests.shop.broken.Client")


def test_a_script_that_exits_when_it_is_imported_is_no_target_and_ends_nothing():
    with pytest.raises(UnknownTarget, match=r"tests.shop.exiting.*failed inside: SystemExit"):
        import_class("tests.shop.exiting.Client")


def test_a_person_who_interrupts_an_import_interrupts_it(monkeypatch: pytest.MonkeyPatch):
    class Impatient:
        def find_spec(self, name: str, *_: object) -> None:
            raise KeyboardInterrupt

    monkeypatch.setattr(sys, "meta_path", [Impatient(), *sys.meta_path])
    with pytest.raises(KeyboardInterrupt):
        import_class("tests.shop.never_imported.Client")


@pytest.mark.parametrize(
    ("target", "method_name", "queue"),
    [
        ("tests.shop.clients.OrderClient", "fulfill", "fulfilment"),
        ("tests.shop.exiting", "run", None),
        ("tests.shop.never_imported", "run", None),
        ("tests.shop.clients.__builtins__", "exit", None),
        ("os", "getcwd", None),
        ("", "", None),
        ("\x00", "..", None),
    ],
)
def test_a_policy_is_looked_up_without_an_import(
    target: str, method_name: str, queue: str | None, imports: Imports
):
    before = set(sys.modules)
    policy = known_policy(target, method_name)
    assert (policy and policy.queue) == queue
    assert imports.asked == []
    assert set(sys.modules) == before


def test_what_was_found_once_is_known_by_all_its_names():
    assert known_policy("tests.shop.clients.ExpressClient", "nothing") is None
    inherited = target_named("tests.shop.clients.ExpressClient", "describe").policy
    assert known_policy("tests.shop.clients.ExpressClient", "describe") is inherited
    for alias, name in decorator._aliases.items():
        assert known_policy(*alias.rsplit(".", 1)) is registered()[name]
    assert decorator._aliases

"""A worker begins anew with the code as it is: told by SIGHUP, or because a file was edited."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from async_attempts.worker.processes import reload as code_changes
from async_attempts.worker.processes.reload import CodeChanges
from tests.shop import effects
from tests.worker.helpers.attempts import enqueued, stored
from tests.worker.helpers.processes import PATIENCE, until

SETTINGS = """
from tests.settings import *
INSTALLED_APPS = [*INSTALLED_APPS, "shop_in_development"]
"""
CODE = """
import os
from tests.shop import effects


def tell(path):
    with open(path, "a") as file:
        file.write(f"{{VERSION}} {{os.getppid()}}\\n")


VERSION = {version!r}
effects.action = tell
"""
OLD, NEW = (CODE.format(version=version) for version in ("old", "new"))


class Shop:
    """An app in a directory of its own, and a worker that knows it."""

    def __init__(self, directory: Path, environment: dict[str, str], database: str) -> None:
        self.directory = directory
        self.database = database
        self.code = directory / "shop_in_development" / "attempts.py"
        self.told = directory / "told"
        self.log = directory / "log"
        self.code.parent.mkdir()
        (self.code.parent / "__init__.py").touch()
        (directory / "development.py").write_text(SETTINGS)
        self.code.write_text(OLD)
        python_path = os.pathsep.join([str(directory), environment.get("PYTHONPATH", "")])
        self.environment = environment | {
            "PYTHONPATH": python_path,
            "DJANGO_SETTINGS_MODULE": "development",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        self.worker: subprocess.Popen[bytes] | None = None

    def start(self, *flags: str) -> None:
        arguments = ["-m", "django", "run_attempts", "--poll-interval=0.05", *flags]
        with self.log.open("ab") as log:
            self.worker = subprocess.Popen(
                [sys.executable, *arguments, f"--database={self.database}"],
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def says(self) -> list[str]:
        """What the target tells now: the version of the code, and the supervisor's pid."""
        attempt = enqueued(self.database, effects.act, str(self.told))
        until(lambda: self.lives() and stored(attempt).status == "succeeded")
        return self.told.read_text().splitlines()[-1].split()

    def lives(self) -> bool:
        assert self.worker is not None
        assert self.worker.poll() is None, self.log.read_text()
        return True


@pytest.fixture
def shop(
    database: str, child_environment: dict[str, str], tmp_path: Path
) -> Iterator[Callable[..., Shop]]:
    shop = Shop(tmp_path, child_environment, database)

    def start(*flags: str) -> Shop:
        shop.start(*flags)
        return shop

    yield start
    if shop.worker is not None:
        shop.worker.terminate()
        assert shop.worker.wait(PATIENCE) == 0, shop.log.read_text()


def test_sighup_lets_the_same_process_begin_anew(shop):
    shop = shop("--no-reload")
    pid = str(shop.worker.pid)
    assert shop.says() == ["old", pid]
    shop.code.write_text(NEW)
    assert shop.says() == ["old", pid]
    os.kill(shop.worker.pid, signal.SIGHUP)
    until(lambda: shop.says() == ["new", pid])


def test_impatient_signals_do_not_end_it(shop):
    shop = shop("--no-reload")
    pid = str(shop.worker.pid)
    assert shop.says() == ["old", pid]
    shop.code.write_text(NEW)
    for _ in range(40):
        # Some of them meet it between its two lives.
        os.kill(shop.worker.pid, signal.SIGHUP)
        assert shop.lives()
        time.sleep(0.05)
    until(lambda: shop.says() == ["new", pid])


def test_an_edited_file_does_so_too(shop):
    shop = shop("--reload")
    pid = str(shop.worker.pid)
    assert shop.says() == ["old", pid]
    shop.code.write_text(NEW)
    until(lambda: shop.says() == ["new", pid])
    assert "attempts.py was edited" in shop.log.read_text()


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A module's file; the module is imported."""
    path = tmp_path / "edited_by_a_test.py"
    path.write_text("a = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    __import__("edited_by_a_test")
    monkeypatch.setattr(code_changes, "INTERVAL", 0.0)
    yield path
    del sys.modules["edited_by_a_test"]


def edit(path: Path, text: str, seconds: int) -> None:
    path.write_text(text)
    os.utime(path, (seconds, seconds))


def test_an_edit_is_noticed_once(module):
    changes = CodeChanges()
    assert changes.changed() is None
    edit(module, "a = 2\n", 1)
    assert changes.changed() == module.resolve()
    assert changes.changed() is None


def test_what_is_no_python_yet_is_waited_for(module):
    changes = CodeChanges()
    edit(module, "a = (\n", 1)
    assert changes.changed() is None
    edit(module, "a = (1)\n", 2)
    assert changes.changed() == module.resolve()

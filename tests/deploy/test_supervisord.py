"""supervisord starts the worker by `docs/deploy/supervisord.conf`, restarts it and stops it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy import files
from tests.shop import effects
from tests.worker.helpers.attempts import enqueued, stored
from tests.worker.helpers.processes import PATIENCE, lines, until

pytestmark = pytest.mark.only("postgresql", reason="how it is stopped depends on no database")


class Supervisord:
    """One that runs, and what is said to it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.configuration = directory / "supervisord.conf"

    @property
    def log(self) -> str:
        return (self.directory / "supervisord.log").read_text()

    def control(self, *words: str) -> str:
        """`supervisorctl`, and what it says."""
        return subprocess.run(
            [sys.executable, "-m", "supervisor.supervisorctl", "-c", self.configuration, *words],
            stdout=subprocess.PIPE,
            text=True,
            timeout=PATIENCE,
            check=False,
        ).stdout.strip()

    @property
    def worker(self) -> int:
        """The process id of the worker, 0 if there is none."""
        said = self.control("pid", "run_attempts")
        return int(said) if said.isdecimal() else 0


@pytest.fixture
def supervisord(database: str, child_environment: dict[str, str]) -> Iterator[Supervisord]:
    """Runs as the file says, beside a log of the worker that is shown if the test fails."""
    # A socket's path must be short.
    with tempfile.TemporaryDirectory(prefix="sv") as name:
        directory = Path(name)
        said = files.here("supervisord.conf")
        for path in ("/var/log/supervisor/", "/run/"):
            said = said.replace(path, f"{directory}/")
        command = files.program()["command"].partition("manage.py")[2]
        said = said.replace(command, f"{command} --database={database}")
        files.written(directory, "supervisord.conf", said)
        process = subprocess.Popen(
            [
                sys.executable,
                *("-m", "supervisor.supervisord", "--nodaemon"),
                *("-c", directory / "supervisord.conf"),
            ],
            env=child_environment,
        )
        try:
            yield Supervisord(directory)
        finally:
            process.terminate()
            process.wait(PATIENCE)
            print((directory / "run_attempts.log").read_text())  # noqa: T201 pytest shows it


def test_the_worker_performs_and_ends_well(database, supervisord, tmp_path):
    ledger = tmp_path / "ledger"
    attempt = enqueued(database, effects.write, str(ledger))
    until(lambda: lines(ledger))
    assert supervisord.control("stop", "run_attempts") == "run_attempts: stopped"
    assert "stopped: run_attempts (exit status 0)" in supervisord.log
    assert stored(attempt).status == "succeeded"


def test_a_worker_that_was_killed_is_started_again(database, supervisord, tmp_path):
    ledger = tmp_path / "ledger"
    enqueued(database, effects.write, str(ledger))
    until(lambda: lines(ledger))
    killed = supervisord.worker
    os.kill(killed, signal.SIGKILL)
    until(lambda: supervisord.worker not in (0, killed))
    enqueued(database, effects.write, str(ledger))
    until(lambda: len(lines(ledger)) == 2)

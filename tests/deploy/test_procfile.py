"""The processes of `docs/deploy/Procfile`, started and ended as foreman and Heroku do."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys

import pytest

from tests.deploy import files
from tests.examples.documented import ROOT
from tests.shop import effects
from tests.worker.helpers.attempts import enqueued, stored
from tests.worker.helpers.processes import PATIENCE, lines, until


@pytest.mark.only("postgresql", reason="how it is stopped depends on no database")
@pytest.mark.parametrize("name", files.procfile())
def test_it_performs_and_ends_well_when_all_its_processes_are_told_to(
    database, name, child_environment, tmp_path
):
    ledger = tmp_path / "ledger"
    attempt = enqueued(database, effects.write, str(ledger), options={"queue": files.QUEUE})
    command = files.procfile()[name].removeprefix("python ")
    process = subprocess.Popen(
        ["sh", "-c", f"exec {shlex.quote(sys.executable)} {command} --database={database}"],
        cwd=ROOT,
        env=child_environment,
        start_new_session=True,
    )
    try:
        until(lambda: lines(ledger))
        os.killpg(process.pid, signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
    assert stored(attempt).status == "succeeded"

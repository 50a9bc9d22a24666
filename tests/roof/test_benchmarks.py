"""`python -m benchmarks` still runs: the least of it, on SQLite, without other packages."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from benchmarks.names import EVERYWHERE, WORKLOADS
from tests.databases import LIVE, RUN

BASE: Final = Path(__file__).parents[2]
NOT_INHERITED: Final = {LIVE, RUN, "DJANGO_SETTINGS_MODULE"}


def test_every_workload_has_its_module():
    modules = {path.stem for path in (BASE / "benchmarks" / "workloads").glob("*.py")}
    assert modules == {"__init__", *WORKLOADS}
    assert set(WORKLOADS) > EVERYWHERE


@pytest.mark.slow
def test_the_least_of_it_runs_and_checks_its_attempts(tmp_path: Path):
    figures = tmp_path / "figures.json"
    options = ["--quick", "--no-peers", "--database", "sqlite", "--json", str(figures)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *options],
        cwd=BASE,
        env={name: value for name, value in os.environ.items() if name not in NOT_INHERITED},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "Performed exactly once: all of " in done.stdout
    (section,) = json.loads(figures.read_text())["databases"]
    assert section["server"].startswith("SQLite")
    assert section["checked"] > 0
    for measured in section["measurements"]:
        assert measured["left_out"] == {}
        assert all(rate > 0 for rates in measured["rates"].values() for rate in rates)

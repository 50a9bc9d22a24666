"""Take one guard out at a time, and prove that the tests named for it fail.

`python -m tests.faults.mutations [NAME…]`: exit code 1 when a guard can be taken out unnoticed,
when a named test fails without it being taken out, or when the text of one isn't found any more.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from typing import Final, NamedTuple
from xml.etree import ElementTree as ET

from tests import patience
from tests.databases import POSTGRES_URL
from tests.faults import copied_databases, forked_pytest
from tests.faults.forked_pytest import PACKAGE, ROOT
from tests.faults.mutants import Mutant
from tests.servers import start_postgresql

AT_ONCE: Final = 4
"""Twice the processors of a small machine, as many of these tests wait most of their time."""

PATIENCE: Final = 20.0
"""Seconds after which a test fails that waits for what the guard would have let happen."""

TIMES: Final = 2
"""How often a run is made whose outcome isn't the expected one."""

LONGEST: Final = 180.0
"""Seconds after which a run of tests is ended; a test that hangs has not failed."""

SCHEMA: Final = ("migrations/", "models/", "ids.py")
"""Where the migrations and what they use stand: a mutant of it migrates its own databases."""


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
        if POSTGRES_URL not in os.environ:  # each run would start its own
            os.environ[POSTGRES_URL] = start_postgresql(directory / "postgresql", cleanup)
        os.environ[patience.VARIABLE] = str(PATIENCE)
        forked_pytest.prepare(directory)
        cleanup.enter_context(copied_databases.made(directory / f"{directory.name}_original"))
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
    changes_schema = any(file.startswith(SCHEMA) for file, _, _ in mutant.replacements)
    unmoved, complaint = set(mutant.tests), ""
    # Under load the moment may be missed for which the guard is there.
    for _ in range(TIMES):
        outcome = run(place, sorted(unmoved), copied=not changes_schema)
        unmoved -= outcome.failed
        say(f"{outcome.seconds:5.1f} s  {'ALIVE' if unmoved else 'killed'}  {mutant.name}")
        if not unmoved:
            complaint = ""
            break
        complaint = f"{mutant.name}: not failed {sorted(unmoved)}\n{outcome.output}"
    for each in (place, forked_pytest.bytecode_of(place)):
        shutil.rmtree(each, ignore_errors=True)
    return complaint


def mutate(mutant: Mutant, place: Path) -> None:
    """Copy the package there without the guard. Raises LookupError for a text that isn't there."""
    mutated = without_guard(mutant)
    ignored = shutil.ignore_patterns("__pycache__", "locale", "static")
    shutil.copytree(ROOT / PACKAGE, place / PACKAGE, ignore=ignored)
    forked_pytest.share_bytecode(place)
    for file, text in mutated.items():
        (place / PACKAGE / file).write_text(text)
        forked_pytest.bytecode_of(place / PACKAGE / file).unlink(missing_ok=True)


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


def run(place: Path, tests: Iterable[str], *, copied: bool = True) -> Run:
    """Run these tests, the package in `place` before any other, in copies of migrated databases."""
    place.mkdir(exist_ok=True)
    begun = time.monotonic()
    report, output = place / "report.xml", place / "output"
    report.unlink(missing_ok=True)
    options = ["-n0", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", "--tb=short"]
    if copied:
        options += copied_databases.OPTIONS
    if not forked_pytest.ended([*options, *tests], place, output, LONGEST):
        return Run(set(), set(), f"not ended after {LONGEST:.0f} s", LONGEST)
    seconds = time.monotonic() - begun
    if not report.exists():
        return Run(set(), set(), output.read_text(), seconds)
    passed, failed = set(), set()
    for case in ET.parse(report).iter("testcase"):  # noqa: S314 pytest wrote it
        path = case.get("classname", "").replace(".", "/")
        name = f"{path}.py::{case.get('name')}"
        if case.find("failure") is not None:
            failed.add(name)
        elif not len(case):
            passed.add(name)
    return Run(passed, failed, output.read_text()[-3000:], seconds)


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""A long life with many deaths: `python -m tests.faults.soak --minutes 30 --rate 200`.

Callers enqueue at a rate, some of them roll back; others touch what a worker is performing, or lock
the table, and keep their transactions open for a while. Several workers perform; children,
supervisors and whole groups are killed at random, and hosts stand still for longer than the lease
before they go on or die; the database falls once, in the middle. At the end all that is due is
performed, and the ledger judges: nothing is lost, and nothing is performed twice but what a process
had begun that was killed or stood still. Exit code 1 when anything is wrong.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import django


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--rate", type=float, default=200, help="attempts a second")
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--kill-every", type=float, default=5, help="seconds")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    options = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    with ExitStack() as cleanup:
        directory = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="soak_")))
        os.environ["ATTEMPTS_TEST_RUN"] = str(directory)
        django.setup()
        return soak(options, directory, cleanup)


def soak(options: Any, directory: Path, cleanup: ExitStack) -> int:
    from tests.faults.server import Server, known_as, migrated
    from tests.faults.soaking import Soaking

    server = cleanup.enter_context(Server(directory / "postgresql"))
    alias = cleanup.enter_context(known_as("soak", server.settings))
    migrated(alias)
    soaking = Soaking(alias, server, directory, options)
    try:
        soaking.run()
    finally:
        soaking.kill_all()
    sys.stdout.write(f"{soaking.report()}\n")
    return int(not soaking.is_clean)


if __name__ == "__main__":
    sys.exit(main())

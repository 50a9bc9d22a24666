"""`python -m benchmarks`: measure, check, print Markdown."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import benchmarks
from tests.databases import ALIASES

from .servers import answering, durable_servers, fresh_databases


def main() -> None:
    options = parser().parse_args()
    with durable_servers():
        # Models, and so workloads, can be imported only now that Django is set up.
        from .machine import machine
        from .report import as_json, markdown
        from .running import measured_on

        names = options.database or answering()
        if silent := sorted(set(names) - set(answering())):
            sys.exit(f"no server answers for {', '.join(silent)}")
        aliases = [ALIASES[name] for name in names]
        measured_by = machine()
        with fresh_databases(aliases):
            run = [measured_on(alias, options.attempts, options.repeat) for alias in aliases]
    print(markdown(measured_by, run))
    if options.json:
        options.json.write_text(as_json(measured_by, run) + "\n")


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks", description=benchmarks.__doc__)
    parser.add_argument(
        "--database",
        action="append",
        choices=list(ALIASES),
        help="may be given several times; by default all that answer",
    )
    parser.add_argument(
        "--attempts",
        type=count,
        default=20_000,
        metavar="N",
        help="to be drained in a round; the other workloads take a share of it (%(default)s)",
    )
    parser.add_argument(
        "--repeat", type=count, default=5, metavar="R", help="rounds of each workload (%(default)s)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every round's figures")
    return parser


def count(text: str) -> int:
    """A whole number from 1 on."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return value


if __name__ == "__main__":
    main()

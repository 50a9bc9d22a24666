"""`python -m benchmarks`: measure, check, print Markdown."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import benchmarks
from tests.databases import ALIASES

from .names import PEERS, WORKLOADS
from .servers import answering, durable_servers, fresh_databases


def main() -> None:
    options = parser().parse_args()
    chosen = [] if options.no_peers else options.peer or list(PEERS)
    with durable_servers(options.database or list(ALIASES), peers=bool(chosen)):
        # Models, and so workloads, can be imported only now that Django is set up.
        from .machine import machine
        from .peers.found import Peers
        from .report import as_json, markdown
        from .running import Sizes, measured_on

        names = options.database or answering()
        if silent := sorted(set(names) - set(answering())):
            sys.exit(f"no server answers for {', '.join(silent)}")
        aliases = [ALIASES[name] for name in names]
        sizes = Sizes(options.attempts, options.repeat, options.seconds)
        if options.quick:
            sizes = Sizes(attempts=100, rounds=1, seconds=1)
        measured_by = machine()
        with fresh_databases(aliases):
            peers, workloads = Peers.found(chosen), options.workload or WORKLOADS
            run = [measured_on(alias, workloads, sizes, peers) for alias in aliases]
    print(markdown(measured_by, run))
    if options.json:
        options.json.write_text(as_json(measured_by, run) + "\n")


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks", description=benchmarks.__doc__)
    add = parser.add_argument
    several = "may be given several times; by default all"
    add("--database", action="append", choices=list(ALIASES), help=f"{several} that answer")
    add("--workload", action="append", choices=list(WORKLOADS), help=several)
    add("--peer", action="append", choices=list(PEERS), help=f"{several} that are installed")
    add("--no-peers", action="store_true", help="only raw SQL and ours")
    add(
        "--attempts",
        type=count,
        default=20_000,
        metavar="N",
        help="to be drained in a round; other workloads take a share of it (%(default)s)",
    )
    add("--repeat", type=count, default=5, metavar="R", help="rounds (%(default)s)")
    add(
        "--seconds",
        type=count,
        default=20,
        metavar="S",
        help="that an idle worker is watched (%(default)s)",
    )
    add("--quick", action="store_true", help="the least of everything: does it still run?")
    add("--json", type=Path, metavar="FILE", help="write every round's figures")
    return parser


def count(text: str) -> int:
    """A whole number from 1 on."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return value


if __name__ == "__main__":
    main()

"""The command line: types of flags, exit codes, tables, and an output that may be cut off."""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
from collections.abc import Iterable
from datetime import timedelta
from typing import Final

from django.core.management.base import BaseCommand, CommandError
from django.db import connections

from ...models import home_database
from ...printable import printable
from ...values import CENTURY, DAY

USAGE: Final = 2
NO_DATABASE: Final = 3
CUT_OFF: Final = 128 + signal.SIGPIPE
"""The exit code that a shell gives to a program that SIGPIPE ended."""

NAME_LENGTH: Final = 255
LARGEST_BATCH: Final = 10_000
LARGEST_PORT: Final = 65_535
AGE: Final = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")
UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class PipedCommand(BaseCommand):
    """A command that ends without a traceback when the reader of its output has ended."""

    def run_from_argv(self, argv: list[str]) -> None:
        try:
            super().run_from_argv(argv)
            sys.stdout.flush()
        except BrokenPipeError:
            # Python flushes once more at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(CUT_OFF)

    def write_table(self, rows: Iterable[Iterable[str]]) -> None:
        """Write the rows of a table, the first of which is its head; cells are made printable."""
        table = [[printable(cell) for cell in row] for row in rows]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        for row in table:
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            self.stdout.write("  ".join(cells).rstrip())


def add_database(parser: argparse.ArgumentParser) -> None:
    """Add the flag `--database`, which `attempts_database` reads."""
    parser.add_argument("--database", help="alias; by default where the router puts attempts")


def attempts_database(given: str | None) -> str:
    """Return the alias given, else the setting DATABASE, else where the routers write.

    Raises CommandError for one that isn't in DATABASES.
    """
    database = given or home_database()
    if database not in connections:
        raise CommandError(f"--database: {database!r} is not in DATABASES.", returncode=USAGE)
    return database


def seconds(text: str) -> float:
    """Return a positive number of seconds from the command line."""
    value = float(text)
    if not 0 < value < DAY:
        raise argparse.ArgumentTypeError("must be more than 0 and less than a day, in seconds")
    return value


def age(text: str) -> float:
    """Return an age from the command line, in seconds."""
    match = AGE.fullmatch(text.strip())
    if match is None:
        raise argparse.ArgumentTypeError("must be a number and a unit, such as 30d, 12h or 45m")
    number, unit = float(match[1]), UNITS[match[2]]
    # The number alone comes first: a timedelta refuses one that is far too large.
    if number > CENTURY or (value := timedelta(**{unit: number}).total_seconds()) > CENTURY:
        raise argparse.ArgumentTypeError("must be at most a hundred years")
    return value


def name(text: str) -> str:
    """Return the name of a worker, at most as long as its column."""
    if len(text) > NAME_LENGTH:
        raise argparse.ArgumentTypeError(f"must have at most {NAME_LENGTH} characters")
    return text


def batch(text: str) -> int:
    """Return the rows of one statement: every database takes this many parameters."""
    return _at_most(LARGEST_BATCH, text)


def port(text: str) -> int:
    """Return a TCP port."""
    return _at_most(LARGEST_PORT, text)


def _at_most(most: int, text: str) -> int:
    value = count(text)
    if value > most:
        raise argparse.ArgumentTypeError(f"must be {most} or less")
    return value


def count(text: str) -> int:
    """Return a whole number, 1 or more, from the command line."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return value

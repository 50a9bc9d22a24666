"""Types and defaults of the commands' flags."""

from __future__ import annotations

import argparse
from typing import Final

from ...schedules import home_database
from ...values import DAY

USAGE: Final = 2
NO_DATABASE: Final = 3
NAME_LENGTH: Final = 255
LARGEST_BATCH: Final = 10_000
LARGEST_PORT: Final = 65_535


def attempts_database(given: str | None) -> str:
    """Return the alias given, else the setting DATABASE, else where the routers write."""
    return given or home_database()


def seconds(text: str) -> float:
    """Return a positive number of seconds from the command line."""
    value = float(text)
    if not 0 < value < DAY:
        raise argparse.ArgumentTypeError("must be more than 0 and less than a day, in seconds")
    return value


def name(text: str) -> str:
    """Return the name of a worker, at most as long as its column."""
    if len(text) > NAME_LENGTH:
        raise argparse.ArgumentTypeError(f"must have at most {NAME_LENGTH} characters")
    return text


def batch(text: str) -> int:
    """Return the rows of one statement: every database takes this many parameters."""
    value = count(text)
    if value > LARGEST_BATCH:
        raise argparse.ArgumentTypeError(f"must be {LARGEST_BATCH} or less")
    return value


def port(text: str) -> int:
    """Return a TCP port."""
    value = count(text)
    if value > LARGEST_PORT:
        raise argparse.ArgumentTypeError(f"must be {LARGEST_PORT} or less")
    return value


def count(text: str) -> int:
    """Return a whole number, 1 or more, from the command line."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return value

"""What the commands' flags have in common."""

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
    """The alias that was given, else the setting DATABASE, else where the routers write."""
    return given or home_database()


def seconds(text: str) -> float:
    """A positive number of seconds from the command line."""
    value = float(text)
    if not 0 < value < DAY:
        raise argparse.ArgumentTypeError("must be more than 0 and less than a day, in seconds")
    return value


def name(text: str) -> str:
    """What a worker is called, as long as its column."""
    if len(text) > NAME_LENGTH:
        raise argparse.ArgumentTypeError(f"must have at most {NAME_LENGTH} characters")
    return text


def batch(text: str) -> int:
    """The rows of one statement: every database takes so many parameters."""
    value = count(text)
    if value > LARGEST_BATCH:
        raise argparse.ArgumentTypeError(f"must be {LARGEST_BATCH} or less")
    return value


def port(text: str) -> int:
    """A TCP port."""
    value = count(text)
    if value > LARGEST_PORT:
        raise argparse.ArgumentTypeError(f"must be {LARGEST_PORT} or less")
    return value


def count(text: str) -> int:
    """A whole number from 1 on from the command line."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return value

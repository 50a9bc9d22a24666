"""The flags, the list and the question of `attempts rotate-keys --seal-plaintext`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from django.core.management.base import CommandError

from ...store.plaintext import Listed, Plaintext
from ._arguments import USAGE

HEAD: Final = ("TARGET", "ATTEMPTS", "NUMBER", "FROM", "TO", "SEALED")
FLAG: Final = "--seal-plaintext"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags that select the plain values to be sealed."""
    parser.add_argument(
        FLAG,
        action="store_true",
        help="encrypt what NullCipher stored in plain, too, after listing it; needs --until",
    )
    parser.add_argument(
        "--until",
        metavar="MOMENT",
        help="with --seal-plaintext: only what was enqueued before this moment, such as "
        "2026-11-30T12:00:00+00:00; take the one at which the first key was added",
    )
    parser.add_argument(
        "--live",
        action="append",
        metavar="TARGET",
        help="with --seal-plaintext: also attempts of this target that haven't ended, and its "
        "schedules; may be given several times",
    )
    parser.add_argument(
        "--no-input",
        "--noinput",
        action="store_false",
        dest="interactive",
        help="with --seal-plaintext: don't ask after the list",
    )


def selection(options: dict[str, Any]) -> Plaintext | None:
    """Return the plain values that the flags select; None without them. Raises CommandError."""
    until, live = options["until"], options["live"] or ()
    if not options["seal_plaintext"]:
        if until is not None or live:
            raise CommandError(f"--until, --live: say {FLAG} with them.", returncode=USAGE)
        return None
    if until is None:
        raise CommandError(
            f"--until: is needed with {FLAG}: whatever is stored in plain after the first key was "
            "added may be forged.",
            returncode=USAGE,
        )
    return Plaintext(_moment(until), live)


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise CommandError(f"--until: {error}.", returncode=USAGE) from error
    if moment.tzinfo is None:
        raise CommandError(
            f"--until: {text!r} has no offset from UTC; say {moment.isoformat()}+00:00 if it is in "
            "UTC.",
            returncode=USAGE,
        )
    return moment


def table(listed: Sequence[Listed]) -> Iterator[tuple[str, ...]]:
    """Yield the list as the rows of a table, with its head."""
    yield HEAD
    for one in listed:
        moments = map(_said, (one.first, one.last))
        yield one.target, one.kind, str(one.number), *moments, "yes" if one.is_taken else "no"


def _said(moment: datetime | None) -> str:
    return "?" if moment is None else moment.astimezone(UTC).isoformat(" ", "seconds")


def is_confirmed(options: dict[str, Any]) -> bool:
    """Ask on a terminal. Raises CommandError without a terminal or `--no-input`."""
    if not options["interactive"]:
        return True
    if not sys.stdin.isatty():
        raise CommandError(
            f"{FLAG}: nothing was sealed, since nobody can be asked here; read the list, and say "
            "--no-input.",
            returncode=USAGE,
        )
    return input('Seal what the list says "yes" to? [y/N] ').strip().lower() in ("y", "yes")

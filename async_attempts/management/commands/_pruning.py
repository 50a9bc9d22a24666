"""What `attempts prune` deletes, and how far it has come."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Collection, Mapping
from datetime import timedelta
from typing import Final

from ...lifecycle import FINAL
from ...retention import FOR_EVER, Keep, Retention
from ...store import Store
from ...values import CENTURY
from ...worker.maintenance.pruning import Pruner
from ...worker.shared.shared_memory import now

TELL_EVERY: Final = 2.0
AGE: Final = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")
UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class Refused(Exception):
    """Some attempts couldn't be deleted."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `attempts prune`."""
    parser.add_argument("--dry-run", action="store_true", help="only count what would be deleted")
    parser.add_argument(
        "--older-than",
        type=age,
        metavar="AGE",
        help="such as 30d or 12h (s, m, h, d, w) since they ended, in place of what the setting "
        "KEEP says; what that keeps for ever is deleted only where --status names it",
    )
    parser.add_argument(
        "--status",
        action="append",
        choices=sorted(FINAL),
        help="delete only these; may be given several times",
    )
    parser.add_argument(
        "--queue", action="append", help="delete only of these; may be given several times"
    )
    parser.add_argument("--database", help="alias; by default where the router puts attempts")


def age(text: str) -> float:
    """An age from the command line, in seconds."""
    match = AGE.fullmatch(text.strip())
    if match is None:
        raise argparse.ArgumentTypeError("must be a number and a unit, such as 30d, 12h or 45m")
    number, unit = match.groups()
    if float(number) > CENTURY:
        raise argparse.ArgumentTypeError("must be at most a hundred years")
    seconds = timedelta(**{UNITS[unit]: float(number)}).total_seconds()
    if seconds > CENTURY:
        raise argparse.ArgumentTypeError("must be at most a hundred years")
    return seconds


def narrowed(
    retention: Retention,
    *,
    statuses: Collection[str] | None = None,
    queues: Collection[str] | None = None,
    older_than: float | None = None,
) -> Retention:
    """`retention` for these statuses and queues alone, with another age if one is given."""

    def of(kept: Mapping[str, Keep]) -> dict[str, Keep]:
        chosen = (
            [s for s, keep in kept.items() if keep != FOR_EVER] if statuses is None else statuses
        )
        return {s: kept[s] if older_than is None else Keep(older_than) for s in chosen}

    if queues is None:
        by_queue = {queue: of(kept) for queue, kept in retention.by_queue.items()}
        return Retention(of(retention.general), by_queue)
    return Retention({}, {queue: of(retention.of(queue)) for queue in queues})


def prune(
    store: Store, retention: Retention, *, only_counts: bool, tell: Callable[[str], None]
) -> int:
    """Walk over all attempts once; returns how many were deleted, or only counted.

    Raises Refused when rows of the project have kept some.
    """
    pruner = Pruner(store, only_counts=only_counts)
    number, told_at = pruner.prune(retention), now()
    while not pruner.is_through:
        if now() - told_at > TELL_EVERY:
            tell(f"{number} so far")
            told_at = now()
        number += pruner.prune(retention)
    if pruner.num_refused:
        raise Refused(
            f"{pruner.num_refused} attempts are kept by rows of this project, which refer to "
            f"attempts (the on_delete of their foreign keys). {number} others were deleted."
        )
    return number

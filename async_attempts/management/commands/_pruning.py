"""The command `attempts prune`: its flags and its walk."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from django.core.management.base import CommandError

from ...conf import retention, settings
from ...lifecycle import FINAL
from ...retention import FOR_EVER, Keep, Retention
from ...store import Store, store_for
from ...worker.maintenance.pruning import Pruner
from ...worker.shared.shared_memory import now
from ._command_line import PipedCommand, add_database, age

TELL_EVERY: Final = 2.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `attempts prune`."""
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
    add_database(parser)


def run(command: PipedCommand, database: str, options: dict[str, Any]) -> None:
    """Delete attempts by the settings or the flags, and print the number."""
    for queue in options["queue"] or ():
        if queue not in settings().QUEUES:
            command.stderr.write(f"--queue: {queue!r} is not declared in QUEUES (any more?).")
    wanted = _narrowed(
        retention(),
        statuses=options["status"],
        queues=options["queue"],
        older_than=options["older_than"],
    )
    is_dry = options["dry_run"]
    tell = command.stdout.write if options["verbosity"] else lambda _text: None
    number = _prune(store_for(database), wanted, only_counts=is_dry, tell=tell)
    verb = "would be" if is_dry else "were"
    command.stdout.write(f"{number} attempts {verb} deleted.")


def _narrowed(
    retention: Retention,
    *,
    statuses: Collection[str] | None,
    queues: Collection[str] | None,
    older_than: float | None,
) -> Retention:
    """Return `retention` for these statuses and queues alone, with another age if one is given."""

    def of(kept: Mapping[str, Keep]) -> dict[str, Keep]:
        chosen = (
            [s for s, keep in kept.items() if keep != FOR_EVER] if statuses is None else statuses
        )
        return {s: kept[s] if older_than is None else Keep(older_than) for s in chosen}

    if queues is None:
        by_queue = {queue: of(kept) for queue, kept in retention.by_queue.items()}
        return Retention(of(retention.general), by_queue)
    return Retention({}, {queue: of(retention.of(queue)) for queue in queues})


def _prune(
    store: Store, retention: Retention, *, only_counts: bool, tell: Callable[[str], object]
) -> int:
    """Walk over all attempts once; return the number of deleted ones, or only counted ones.

    Raises CommandError when rows of the project have kept some.
    """
    pruner = Pruner(store, only_counts=only_counts)
    number, told_at = pruner.prune(retention), now()
    while not pruner.is_through:
        if now() - told_at > TELL_EVERY:
            tell(f"{number} so far")
            told_at = now()
        number += pruner.prune(retention)
    if pruner.num_refused:
        raise CommandError(
            f"{pruner.num_refused} attempts are kept by rows of this project, which refer to "
            f"attempts (the on_delete of their foreign keys). {number} others were deleted."
        )
    return number

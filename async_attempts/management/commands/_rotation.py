"""The command `attempts rotate-keys`: its flags, its walk, its report by key, and plain values."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from django.core.management.base import CommandError

from ...conf import SETTING
from ...encryption import NO_KEY, KeyState
from ...exceptions import CipherUnavailable, InvalidSetting
from ...store import Store, store_for
from ...store.missing_keys import UNNAMED
from ...store.plaintext import Listed, Plaintext
from ...store.rotation import Resealed, Resealer
from ._command_line import USAGE, PipedCommand, add_database, batch

HEAD: Final = ("KEY", "STATE", "SEALED AGAIN", "CAN'T BE OPENED")
PLAINTEXT_HEAD: Final = ("TARGET", "ATTEMPTS", "NUMBER", "FROM", "TO", "SEALED")
FLAG: Final = "--seal-plaintext"
MOST_KEYS: Final = 100
"""The most unknown keys that are counted one by one: forged rows may name any number."""

OTHERS: Final = "others"
STATES: Final = {NO_KEY: "plain", UNNAMED: "altered", OTHERS: "unknown"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `attempts rotate-keys`."""
    parser.add_argument(
        "--ids", action="store_true", help="print where each value is that can't be opened"
    )
    parser.add_argument(
        "--strict",
        action="store_true",
        help="fail for whatever can't be opened, also if it names a key that isn't in the settings",
    )
    parser.add_argument(
        "--from-realm",
        metavar="REALM",
        help="seal for the present REALM what was sealed for this one, too; '' is none",
    )
    parser.add_argument("--batch-size", type=batch, default=200)
    _add_plaintext_flags(parser)
    add_database(parser)


def _add_plaintext_flags(parser: argparse.ArgumentParser) -> None:
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


def run(command: PipedCommand, database: str, options: dict[str, Any]) -> None:
    """Seal all schedules and attempts with the first key; print what is left by key."""
    plaintext = _selected_plaintext(options)
    try:
        resealer = Resealer(
            store_for(database), plaintext=plaintext, from_realm=options["from_realm"]
        )
    except InvalidSetting as error:
        raise CommandError(str(error), returncode=USAGE) from error
    if plaintext is None or _may_seal(command, plaintext, resealer.store, options):
        _rotate(command, Rotation(resealer, command.stdout.write, ids=options["ids"]), options)


def _rotate(command: PipedCommand, rotation: Rotation, options: dict[str, Any]) -> None:
    try:
        rotation.walk(options["batch_size"])
    except CipherUnavailable as error:
        raise CommandError(f"{error}. What was sealed again stays so; run it again.") from error
    command.write_table([HEAD, *rotation.rows()])
    for sentence in rotation.conclusions():
        command.stdout.write(sentence)
    rotation.require_done(strict=options["strict"])


class Rotation:
    """One walk over all sealed values of a database, counted by key."""

    def __init__(self, resealer: Resealer, tell: Callable[[str], object], *, ids: bool) -> None:
        self._resealer = resealer
        self._tell = tell
        self._ids = ids
        self.sealed: Counter[str] = Counter()
        self.unreadable: Counter[str] = Counter()
        self.changed = 0
        self.too_large = 0

    def walk(self, batch_size: int) -> None:
        """Seal all values with the first key; finished batches stay if this raises."""
        self._count(self._resealer.reseal_schedules())
        after = self._count(self._resealer.reseal(limit=batch_size)).after
        while after is not None:
            after = self._count(self._resealer.reseal(after, batch_size)).after

    def rows(self) -> Iterator[tuple[str, str, str, str]]:
        """Yield the rows of the table: the keys of the settings come first."""
        cipher = self._resealer.cipher
        counted = {*self.sealed, *self.unreadable}
        known = [one for one in cipher.key_ids if one in counted or one == cipher.key_ids[0]]
        for key_id in [*known, *sorted(counted - {*known})]:
            state = STATES.get(key_id) or str(self._resealer.state_of(key_id))
            yield key_id, state, str(self.sealed[key_id]), str(self.unreadable[key_id])

    def conclusions(self) -> Iterator[str]:
        """Yield a sentence for each key that may be removed, and for what is left of others."""
        if not self.changed:
            for key_id in self._resealer.former_keys:
                if not self.unreadable[key_id]:
                    yield f"Nothing on this database is sealed with the key {key_id} any more."
        if number := self.unreadable[NO_KEY]:
            yield f"{_values(number)} stored in plain: see --seal-plaintext."
        if number := self._of_no_key_of_ours:
            yield (
                f"{_values(number)} sealed with no key of the settings, or altered: forged, or of "
                "a key that was removed too early. See --ids."
            )
        if number := self.too_large:
            yield (
                f"{_values(number)} too large, and not read; no worker reads such a value. Delete "
                f"the row; if its arguments are yours, raise {SETTING}['MAX_ARGS_BYTES'] and run "
                "this again. See --ids."
            )

    def require_done(self, *, strict: bool) -> None:
        """Raise CommandError while a retired key may be needed; `strict`: or any other key."""
        if self.changed:
            raise CommandError(
                f"{_values(self.changed)} changed by others again and again; run it once more."
            )
        for key_id in self._resealer.former_keys:
            if number := self.unreadable[key_id]:
                raise CommandError(
                    f"{_values(number)} marked with the key {key_id} and can't be opened with it: "
                    "altered, of another REALM or target, or too large to be read. --ids tells "
                    "where. If you expected that, the key is not needed for it: it doesn't open it."
                )
        if self.too_large and not self._resealer.reads_headers:
            raise CommandError(
                f"{_values(self.too_large)} too large, and CIPHER is your own: with which key "
                "they are sealed is not known."
            )
        if strict and (number := self.unreadable.total()):
            raise CommandError(f"{_values(number)} not to be opened with these keys (--strict).")

    @property
    def _of_no_key_of_ours(self) -> int:
        ours = {NO_KEY, *self._resealer.former_keys}
        return sum(number for key_id, number in self.unreadable.items() if key_id not in ours)

    def _count(self, batch: Resealed) -> Resealed:
        for key_id, number in batch.sealed.items():
            self.sealed[key_id] += number
        for key_id, where, size in batch.unreadable:
            if self._ids:
                told = "" if size is None else f": {size:,} bytes, too large to be read"
                self._tell(f"{key_id}: {where}{told}")
            self.too_large += size is not None
            self.unreadable[self._named(key_id)] += 1
        self.changed += batch.changed
        return batch

    def _named(self, key_id: str) -> str:
        if key_id in self.unreadable or len(self.unreadable) < MOST_KEYS:
            return key_id
        is_ours = self._resealer.state_of(key_id) is not KeyState.UNKNOWN
        return key_id if is_ours or key_id == NO_KEY else OTHERS


def _values(number: int) -> str:
    return "1 value is" if number == 1 else f"{number} values are"


def _selected_plaintext(options: dict[str, Any]) -> Plaintext | None:
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


def _may_seal(
    command: PipedCommand, plaintext: Plaintext, store: Store, options: dict[str, Any]
) -> bool:
    """List the values stored in plain, and ask whether to seal the selected ones."""
    listed = plaintext.listed(store, options["batch_size"])
    if not listed:
        command.stdout.write("Nothing is stored in plain.")
        return True
    command.write_table(_table(listed))
    if _is_confirmed(options):
        return True
    command.stdout.write("Nothing was sealed.")
    return False


def _table(listed: Sequence[Listed]) -> Iterator[tuple[str, ...]]:
    """Yield the list as the rows of a table, with its head."""
    yield PLAINTEXT_HEAD
    for one in listed:
        moments = map(_said, (one.first, one.last))
        yield one.target, one.kind, str(one.number), *moments, "yes" if one.is_taken else "no"


def _said(moment: datetime | None) -> str:
    return "?" if moment is None else moment.astimezone(UTC).isoformat(" ", "seconds")


def _is_confirmed(options: dict[str, Any]) -> bool:
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

"""The walk and the report of `attempts rotate-keys`, by key."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

from ...conf import SETTING
from ...encryption import NO_KEY, KeyState
from ...store.missing_keys import UNNAMED
from ...store.rotation import Resealed, Resealer
from ._arguments import batch

HEAD: Final = ("KEY", "STATE", "SEALED ANEW", "CAN'T BE OPENED")
MOST_KEYS: Final = 100
"""The most unknown keys that are counted one by one: forged rows may name any number."""

OTHERS: Final = "others"
STATES: Final = {NO_KEY: "plain", UNNAMED: "altered", OTHERS: "unknown"}


class Refused(Exception):
    """An error: sealed values are left that must not be."""


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
        """Raise Refused while a retired key may be needed; `strict`: or any other key."""
        if self.changed:
            raise Refused(
                f"{_values(self.changed)} changed by others again and again; run it once more."
            )
        for key_id in self._resealer.former_keys:
            if number := self.unreadable[key_id]:
                raise Refused(
                    f"{_values(number)} marked with the key {key_id} and can't be opened with it: "
                    "altered, of another REALM or target, or too large to be read. --ids tells "
                    "where. If you expected that, the key is not needed for it: it doesn't open it."
                )
        if self.too_large and not self._resealer.reads_headers:
            raise Refused(
                f"{_values(self.too_large)} too large, and CIPHER is your own: with which key "
                "they are sealed is not known."
            )
        if strict and (number := self.unreadable.total()):
            raise Refused(f"{_values(number)} not to be opened with these keys (--strict).")

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

"""Attempts whose key this process lacks: they are put off, longer each time.

A key pauses what it sealed, and nothing else: claims pass over its header for a while, so that the
attempts are left to the workers that have it. If no worker has it, they are put off together.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from ...backoff import Backoff
from ...encryption import foreign_header
from ...exceptions import CipherUnavailable, RetiredKey, UnknownFormat, UnknownKey
from ...lifecycle import Released
from ...printable import printable
from ...store import Claim, PutOff
from ...store.missing_keys import KEY_ID_LENGTH, UNNAMED, reason_for, reason_for_form
from ..shared.shared_memory import now

logger = logging.getLogger("async_attempts")

HOUR: Final = 3600.0
MOST_KEYS: Final = 100
"""More than any project has: a person who can write rows can make up any number of key ids.

Attempts of further keys are put off by their own claims alone, and no claim passes over them.
"""

ALONE_FOR: Final = 5.0
"""Seconds after which what a key sealed is put off together: workers start one after the other."""

MOST_DOUBLINGS: Final = 8
"""Doublings of a first delay of a minute, up to an hour; a forged row may have any counter."""

FORGOTTEN_AFTER: Final = 60.0
"""Seconds more than the attempts need to come back, after which the next trouble is a new one."""


@dataclass(frozen=True, slots=True)
class Patience:
    """The delays of attempts that can't be opened, and the seconds between two warnings of that."""

    delays: Backoff
    silence: float


FOR_A_KEY: Final = Patience(Backoff.exponential(60.0, cap=HOUR), silence=HOUR)
"""The delays for want of a key: this process takes such rows from others less and less often."""

FOR_THE_CIPHER: Final = Patience(Backoff.exponential(2.0, cap=60.0), silence=60.0)


class Trouble:
    """A cause for which attempts can't be opened; each use is under the lock of its owner."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._in_a_row = 0
        self._began = self._delay = self._last = 0.0
        self.lasts_until = 0.0
        """The end of the pause for all attempts of this cause, by `now()`."""

        self._tell_at = 0.0
        self._untold = 0
        self._by_claims: dict[int, float] = {}
        self.name = self.reason = ""
        """The name of the key or form, and the reason of attempts that wait for it."""

        self.others_have_it = False

    @property
    def is_over(self) -> bool:
        """True if the next of it would be a new trouble."""
        return now() >= self._last + self._delay * 2 + FORGOTTEN_AFTER

    def delay(self) -> float:
        """Seconds to put off an attempt that was just met.

        All that are met before the first of them can be back are put off alike, so that they are
        recorded together; from then on it takes longer.
        """
        moment = now()
        if self.is_over:
            self._in_a_row, self.lasts_until, self._began = 0, 0.0, moment
        self._last = moment
        if moment >= self.lasts_until:
            self._in_a_row += 1
            self._delay = self._patience.delays.delay(self._in_a_row)
            self.lasts_until = moment + self._delay
            self._by_claims = {self._in_a_row: self._delay}
        return self._delay

    def delay_after(self, claims: int, *, at_most_as_here: bool = False) -> float:
        """Seconds to put off an attempt after this number of `claims` that didn't count.

        Attempts that are met together are put off alike, so that they are recorded together.
        `at_most_as_here`: no longer than this trouble lasts, as snoozes don't count either.
        """
        most = self._in_a_row if at_most_as_here else MOST_DOUBLINGS
        claims = min(claims, 1 if self.others_have_it else most)
        if claims not in self._by_claims:
            self._by_claims[claims] = self._patience.delays.delay(claims)
        return self._by_claims[claims]

    @property
    def together(self) -> Released | None:
        """The release for all due attempts of this cause; None while workers may still start."""
        moment = now()
        if moment < self._began + ALONE_FOR or moment >= self.lasts_until:
            return None
        return Released(self._delay, self.reason)

    def put_off(self, number: int) -> None:
        """Count attempts that were put off together, without a claim of each."""
        self._last = now()
        self._untold += number

    def untold(self) -> int:
        """The number put off since the last warning, if it is time for another one; else 0."""
        self._untold += 1
        if now() < self._tell_at:
            return 0
        self._tell_at = now() + self._patience.silence
        number, self._untold = self._untold, 0
        return number


class MissingKeys:
    """The attempts that a process can't open, by cause; used by all of its threads."""

    def __init__(self, count: Callable[[str, int], object] | None = None) -> None:
        """`count` gets the id of a key, and the number of attempts put off for want of it."""
        self._lock = threading.Lock()
        self._count = count
        self._keys: dict[bytes | str, Trouble] = {}
        """The troubles by header, or by the id that a project's own cipher gave."""

        self._others = Trouble(FOR_A_KEY)
        self._cipher = Trouble(FOR_THE_CIPHER)

    @property
    def passed_over(self) -> Collection[bytes]:
        """The headers that claims are to pass over now."""
        if not self._keys:
            return ()
        moment = now()
        with self._lock:
            return sorted(
                cause
                for cause, trouble in self._keys.items()
                if isinstance(cause, bytes) and trouble.lasts_until > moment
            )

    @property
    def together(self) -> Mapping[bytes, Released]:
        """The releases for attempts that no worker can open, by header."""
        if not self._keys:
            return {}
        with self._lock:
            ways = {
                cause: trouble.together
                for cause, trouble in self._keys.items()
                if isinstance(cause, bytes)
            }
        return {header: way for header, way in ways.items() if way is not None}

    def note_put_off(self, headers: Iterable[bytes], found: PutOff) -> None:
        """Note, by header, how many were put off together, and which ones others can open."""
        with self._lock:
            for header in headers:
                trouble = self._of_key(header)
                trouble.others_have_it = header in found.opened
                if number := found.numbers[header]:
                    trouble.put_off(number)
                    if self._count is not None:
                        self._count(trouble.name, number)

    def put_off(
        self, claim: Claim, error: UnknownKey | UnknownFormat | CipherUnavailable
    ) -> Released:
        """The outcome of an attempt that couldn't be opened; it never counts."""
        if isinstance(error, CipherUnavailable):
            reason = f"could not be opened: {error.error_class}"
            with self._lock:
                trouble = self._cipher
                delay, number = trouble.delay(), trouble.untold()
        else:
            name, reason = _told(error)
            # A result that is handed over may be what lacks the key, and not the arguments.
            header = foreign_header(claim.args) if claim.args else None
            with self._lock:
                trouble = self._of_key(name if header is None else header)
                trouble.delay()
                trouble.name, trouble.reason = name or UNNAMED, reason
                delay = trouble.delay_after(
                    1 + max(0, claim.claim_seq - claim.num_attempts),
                    # Each of these ids may be a new one: then only the attempt's history tells.
                    at_most_as_here=trouble is not self._others,
                )
                number = trouble.untold()
                if self._count is not None:
                    self._count(name or UNNAMED, 1)
        if number:
            logger.warning(
                "%s: %s; put off for %.0f s, as are all like it (%d since this was last told)",
                claim,
                reason,
                delay,
                number,
            )
        return Released(delay, reason)

    def _of_key(self, cause: bytes | str) -> Trouble:
        if cause not in self._keys and len(self._keys) >= MOST_KEYS:
            self._keys = {one: each for one, each in self._keys.items() if not each.is_over}
            if len(self._keys) >= MOST_KEYS:
                return self._others
        return self._keys.setdefault(cause, Trouble(FOR_A_KEY))


def _told(error: UnknownKey | UnknownFormat) -> tuple[str, str]:
    """Return the name of what is missing, and the reason that the row shows."""
    if isinstance(error, UnknownFormat):
        form = printable(error.form, KEY_ID_LENGTH)
        return form, reason_for_form(form)
    key_id = printable(error.key_id, KEY_ID_LENGTH)
    return key_id, reason_for(key_id, is_retired=isinstance(error, RetiredKey))

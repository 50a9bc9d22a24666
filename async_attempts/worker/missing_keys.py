"""Put off, longer each time, the attempts that this process lacks the key of, and say so."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import Final

from ..backoff import Backoff
from ..exceptions import CipherUnavailable, UnknownFormat, UnknownKey
from ..lifecycle import Released
from ..printable import printable
from ..store import Claim
from ..store.missing import KEY_ID_LENGTH, reason_for
from .memory import now

logger = logging.getLogger("async_attempts")

HOUR: Final = 3600.0
MOST_KEYS: Final = 100
"""More than anybody has: whoever writes to the table can make up any number of key ids."""

FORGOTTEN_AFTER: Final = 60.0
"""Seconds more than the attempts need to come back, after which the next trouble is a new one."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long attempts are put off for one cause, and how often that is told, in seconds."""

    delays: Backoff
    silence: float


FOR_A_KEY: Final = Patience(Backoff.exponential(60.0, cap=HOUR), silence=HOUR)
"""A process without a key takes rows from those that have it: each time less often."""

FOR_THE_CIPHER: Final = Patience(Backoff.exponential(2.0, cap=60.0), silence=60.0)


class Trouble:
    """One cause for which attempts can't be opened."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._in_a_row = 0
        self._delay = self._longer_from = self._last = 0.0
        self._tell_at = 0.0
        self._untold = 0

    def delay(self) -> float:
        """Seconds to put off an attempt that was just met.

        All that are met before the first of them can be back are put off alike, so that they are
        recorded together; from then on it takes longer.
        """
        moment = now()
        if moment >= self._last + self._delay * 2 + FORGOTTEN_AFTER:
            self._in_a_row, self._longer_from = 0, 0.0
        self._last = moment
        if moment >= self._longer_from:
            self._in_a_row += 1
            self._delay = self._patience.delays.delay(self._in_a_row)
            self._longer_from = moment + self._delay
        return self._delay

    def untold(self) -> int:
        """How many were met since the last warning, if it is time for another one; else 0."""
        self._untold += 1
        if now() < self._tell_at:
            return 0
        self._tell_at = now() + self._patience.silence
        number, self._untold = self._untold, 0
        return number


class MissingKeys:
    """What a process does with attempts that it can't open; used by all of its threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._keys: dict[str, Trouble] = {}
        self._cipher = Trouble(FOR_THE_CIPHER)

    def put_off(
        self, claim: Claim, error: UnknownKey | UnknownFormat | CipherUnavailable
    ) -> Released:
        """The outcome of an attempt that couldn't be opened; it never counts."""
        if isinstance(error, CipherUnavailable):
            reason = f"could not be opened: {error.error_class}"
            trouble = self._cipher
        elif isinstance(error, UnknownFormat):
            reason = f"stored in a form that this release doesn't know: {error.form}"
            trouble = self._of_key(error.form)
        else:
            key_id = printable(error.key_id, KEY_ID_LENGTH)
            reason = reason_for(key_id)
            trouble = self._of_key(key_id)
        with self._lock:
            delay, number = trouble.delay(), trouble.untold()
        if number:
            logger.warning(
                "%s: %s; put off for %.0f s, as are all like it (%d since this was last told)",
                claim,
                reason,
                delay,
                number,
            )
        return Released(delay, reason)

    def _of_key(self, key_id: str) -> Trouble:
        with self._lock:
            if key_id not in self._keys and len(self._keys) >= MOST_KEYS:
                key_id = ""
            return self._keys.setdefault(key_id, Trouble(FOR_A_KEY))

"""UUIDv7: ids that are known before the INSERT and sort by the time they were made."""

from __future__ import annotations

import os
import threading
import time
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID, SafeUUID

_VERSION_AND_VARIANT: Final = 0x7 << 76 | 0b10 << 62
_UNKNOWN: Final = SafeUUID.unknown
_RANDOM_BYTES: Final = 8
_RANDOM_BITS: Final = 0x3FFF_FFFF_FFFF_FFFF

_new: Any = object.__new__
_set: Any = object.__setattr__


class _Ticks:
    """A clock whose ticks never repeat: each is later than the one before."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0

    def renew_lock(self) -> None:
        """Replace the lock in a forked child: a thread of the parent may have held it."""
        self._lock = threading.Lock()

    def take(self, number: int) -> int:
        """Return the first of `number` ticks."""
        millis, nanos = divmod(time.time_ns(), 1_000_000)
        now = millis << 12 | (nanos << 12) // 1_000_000
        with self._lock:
            first = max(self._last + 1, now)
            self._last = first + number - 1
        return first


_ticks = _Ticks()
os.register_at_fork(after_in_child=_ticks.renew_lock)


def uuid7() -> UUID:
    """Return a UUIDv7, greater than each earlier one of this process.

    RFC 9562, section 5.7, with section 6.2's method 3: the twelve bits after the version are the
    fraction of the millisecond; a tick that isn't later than the last one becomes the next tick.
    """
    return _made(_ticks.take(1), os.urandom(_RANDOM_BYTES))


def uuid7s(number: int) -> list[UUID]:
    """Return `number` UUIDv7s by one reading of the clock."""
    first = _ticks.take(number)
    noise = os.urandom(number * _RANDOM_BYTES)
    starts = range(0, len(noise), _RANDOM_BYTES)
    return [
        _made(tick, noise[start : start + _RANDOM_BYTES])
        for tick, start in enumerate(starts, first)
    ]


def made_at(made: UUID) -> datetime | None:
    """Return the moment in a UUIDv7; None for any other UUID."""
    try:
        seconds = (made.int >> 80) / 1000
        return datetime.fromtimestamp(seconds, UTC) if made.version == 7 else None
    except (ValueError, OverflowError):
        # A year after 9999.
        return None


def _made(tick: int, noise: bytes) -> UUID:
    # Without UUID.__init__, which first makes sure of what is known here.
    made: UUID = _new(UUID)
    value = (tick >> 12 & 0xFFFF_FFFF_FFFF) << 80 | (tick & 0xFFF) << 64 | _VERSION_AND_VARIANT
    _set(made, "int", value | int.from_bytes(noise) & _RANDOM_BITS)
    _set(made, "is_safe", _UNKNOWN)
    return made

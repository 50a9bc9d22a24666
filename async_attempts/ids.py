"""UUIDv7: identifiers that are known before the INSERT and sort by the time they were made."""

from __future__ import annotations

import os
import threading
import time
import uuid


class _Ticks:
    """Hands out ticks, each later than the one before."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0

    def renew_lock(self) -> None:
        """In a forked child: another thread of the parent may have held it."""
        self._lock = threading.Lock()

    def later(self, tick: int) -> int:
        with self._lock:
            self._last = max(tick, self._last + 1)
            return self._last


_ticks = _Ticks()
os.register_at_fork(after_in_child=_ticks.renew_lock)


def uuid7() -> uuid.UUID:
    """A UUIDv7, strictly increasing within this process.

    RFC 9562, section 5.7, with section 6.2's method 3: the twelve bits after the version are the
    fraction of the millisecond; a tick that isn't later than the last one becomes the next tick.
    """
    millis, nanos = divmod(time.time_ns(), 1_000_000)
    tick = _ticks.later(millis << 12 | (nanos << 12) // 1_000_000)
    random_bits = int.from_bytes(os.urandom(8)) & 0x3FFF_FFFF_FFFF_FFFF
    return uuid.UUID(
        int=(tick >> 12 & 0xFFFF_FFFF_FFFF) << 80
        | 0x7 << 76
        | (tick & 0xFFF) << 64
        | 0b10 << 62
        | random_bits
    )

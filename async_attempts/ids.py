"""UUIDv7: identifiers that are known before the INSERT and sort by the time they were made."""

from __future__ import annotations

import os
import threading
import time
import uuid

_lock = threading.Lock()
_last_tick = 0


def uuid7() -> uuid.UUID:
    """A UUIDv7, strictly increasing within this process.

    RFC 9562, section 5.7, with section 6.2's method 3: the twelve bits after the version are the
    fraction of the millisecond; a tick that isn't later than the last one becomes the next tick.
    """
    global _last_tick
    seconds_nanos = time.time_ns()
    millis, nanos = divmod(seconds_nanos, 1_000_000)
    tick = millis << 12 | (nanos << 12) // 1_000_000
    with _lock:
        if tick <= _last_tick:
            tick = _last_tick + 1
        _last_tick = tick
    random_bits = int.from_bytes(os.urandom(8)) & 0x3FFF_FFFF_FFFF_FFFF
    return uuid.UUID(
        int=(tick >> 12 & 0xFFFF_FFFF_FFFF) << 80
        | 0x7 << 76
        | (tick & 0xFFF) << 64
        | 0b10 << 62
        | random_bits
    )


os.register_at_fork(after_in_child=lambda: globals().update(_lock=threading.Lock()))

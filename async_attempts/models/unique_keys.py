"""Unique keys: sixteen bytes; at most one attempt may have each."""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import blake2b
from typing import Final

from ..targets import DebounceOptions, TargetName
from .validation import check_token

DEBOUNCE_BYTES: Final = 12
"""Bytes of a digest; four more of the key are for a number."""


def key_of_token(name: TargetName, token: str | None) -> bytes | None:
    """The unique key of an idempotence token. Raises InvalidOption for what can't be one."""
    check_token(token)
    return None if token is None else unique_key("token", *name, token)


def key_of_tick(schedule: str, tick: datetime) -> bytes:
    """The unique key of a schedule's attempt for one tick."""
    return unique_key("schedule", schedule, tick.astimezone(UTC).isoformat())


def digest_of_debounce(name: TargetName, options: DebounceOptions) -> bytes:
    """The first bytes of the unique keys of what is debounced, or throttled, together."""
    return unique_key(options.name, *name, options.key)[:DEBOUNCE_BYTES]


def unique_key(*parts: str | None) -> bytes:
    """Sixteen bytes of BLAKE2b over the length-prefixed parts: equal parts, equal key."""
    digest = blake2b(digest_size=16)
    for part in parts:
        encoded = b"" if part is None else part.encode()
        digest.update((-1 if part is None else len(encoded)).to_bytes(4, signed=True) + encoded)
    return digest.digest()

"""Unique keys: sixteen bytes that stand for what may exist only once."""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import blake2b

from ..targets import Pacing, TargetName
from .options import check_token


def key_of_token(name: TargetName, token: str | None) -> bytes | None:
    """The unique key of an idempotence token. Raises InvalidOption for what can't be one."""
    check_token(token)
    return None if token is None else unique_key("token", *name, token)


def key_of_tick(schedule: str, tick: datetime) -> bytes:
    """The unique key of a schedule's attempt for one tick."""
    return unique_key("schedule", schedule, tick.astimezone(UTC).isoformat())


def key_of_pace(name: TargetName, pacing: Pacing) -> bytes:
    """The key of what is debounced, or throttled, together."""
    return unique_key(pacing.name, *name, pacing.key)


def unique_key(*parts: str | None) -> bytes:
    """Sixteen bytes of BLAKE2b over the length-prefixed parts: equal parts, equal key."""
    digest = blake2b(digest_size=16)
    for part in parts:
        encoded = b"" if part is None else part.encode()
        digest.update((-1 if part is None else len(encoded)).to_bytes(4, signed=True) + encoded)
    return digest.digest()

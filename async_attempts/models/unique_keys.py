"""Unique keys: sixteen bytes; at most one attempt may have each.

Idempotence tokens, ticks of schedules, debounce and throttle rest on them.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, Final, NamedTuple

from ..exceptions import InvalidOption
from ..targets import DebounceOptions, Policy, TargetName, debounce_options_of
from .bounds import MOST_COUNTED
from .validation import check_metadata, check_token

NUMBER_BYTES: Final = 4
CALLS: Final = "debounce_calls"
"""The key of `metadata` that counts the calls of an adaptive debounce while one attempt waits."""


def key_of_token(name: TargetName, token: str | None) -> bytes | None:
    """The unique key of an idempotence token. Raises InvalidOption for what can't be one."""
    check_token(token)
    return None if token is None else unique_key("token", *name, token)


def key_of_tick(schedule: str, tick: datetime) -> bytes:
    """The unique key of a schedule's attempt for one tick."""
    return unique_key("schedule", schedule, tick.astimezone(UTC).isoformat())


class DebounceKey(NamedTuple):
    """The first bytes of the unique keys of all attempts of one target and key.

    The other four are a number, one more for each attempt.
    """

    digest: bytes
    options: DebounceOptions

    @property
    def first(self) -> bytes:
        """The unique key of the first attempt."""
        return self.digest + bytes(NUMBER_BYTES)

    @property
    def last(self) -> bytes:
        """The greatest unique key that an attempt may have."""
        return self.digest + b"\xff" * NUMBER_BYTES

    @staticmethod
    def after(unique_key: bytes) -> bytes:
        """The unique key of the attempt after the one that has this key."""
        return (int.from_bytes(unique_key) + 1).to_bytes(len(unique_key))


def debounce_key_of(
    name: TargetName, policy: Policy, given: Mapping[str, Any], row: Mapping[str, Any]
) -> DebounceKey | None:
    """Return the key by which a new row of these columns is debounced or throttled, if it is.

    Raises InvalidOption for options that are wrong, and for a token or a time beside them.
    """
    options = debounce_options_of(policy, given)
    if options is None:
        return None
    off = f"leave it out, or say {options.name}=False for this call"
    if row["idempotence_token"] is not None:
        raise InvalidOption(
            f"idempotence_token, {options.name}: a token keeps the first call, {options.name} the "
            f"last one of several; {off}."
        )
    if row.get("edges") or row.get("is_prerequisite"):
        raise InvalidOption(
            f"depends_on, {options.name}: the attempt that waits already keeps what it depends on, "
            f"and what depends on it; {off}."
        )
    if row["scheduled_at"] is not None:
        raise InvalidOption(f"scheduled_at, {options.name}: both say when it is due; {off}.")
    if options.adaptive:
        check_metadata(row["metadata"])
        check_metadata({**row["metadata"], CALLS: MOST_COUNTED})
    digest = unique_key(options.name, *name, options.key)[:-NUMBER_BYTES]
    return DebounceKey(digest, options)


def unique_key(*parts: str | None) -> bytes:
    """Sixteen bytes of BLAKE2b over the length-prefixed parts: equal parts, equal key."""
    digest = blake2b(digest_size=16)
    for part in parts:
        encoded = b"" if part is None else part.encode()
        digest.update((-1 if part is None else len(encoded)).to_bytes(4, signed=True) + encoded)
    return digest.digest()

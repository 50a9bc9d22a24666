"""Unique keys: sixteen bytes; at most one attempt may have each.

Idempotence tokens, ticks of schedules, debounce, throttle and `one_of` rest on them.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, Final, NamedTuple

from ..exceptions import InvalidOption
from ..payload import Arguments
from ..targets import KeyOptions, OneOf, Policy, TargetName, key_options_of, key_text, made_key
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


class SharedKey(NamedTuple):
    """The first bytes of the unique keys of all attempts of one target and key.

    The other four are a number, one more for each attempt.
    """

    digest: bytes
    options: KeyOptions

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


def shared_key_of(
    name: TargetName,
    policy: Policy,
    given: Mapping[str, Any],
    row: Mapping[str, Any],
    arguments: Arguments,
) -> SharedKey | None:
    """Return the key by which a new row of these columns is debounced, throttled or one of its key.

    None if it isn't, or if the author's function says that this call has no key. Raises
    InvalidOption for options that are wrong, and for a token or a time beside them.
    """
    options = key_options_of(policy, given)
    if options is None:
        return None
    _refuse_beside(options, row)
    key = options.key
    if callable(key):
        option = "one_of" if isinstance(options, OneOf) else "key"
        if (made := made_key(option, key, str(name), arguments)) is None:
            return None
        key = key_text(option, made)
    return SharedKey(unique_key(options.name, *name, key)[:-NUMBER_BYTES], options)


def _refuse_beside(options: KeyOptions, row: Mapping[str, Any]) -> None:
    """Raise InvalidOption for columns that exclude these options."""
    name, is_one_of = options.name, isinstance(options, OneOf)
    off = f"leave it out, or say {name}=False for this call"
    if row["idempotence_token"] is not None:
        why = (
            "a token is taken as long as its attempt is kept, one_of until it has ended"
            if is_one_of
            else f"a token keeps the first call, {name} the last one of several"
        )
        raise InvalidOption(f"idempotence_token, {name}: {why}; {off}.")
    if row.get("edges") or row.get("is_prerequisite"):
        raise InvalidOption(
            f"depends_on, {name}: the attempt that waits already keeps what it depends on, "
            f"and what depends on it; {off}. Others may depend on what is enqueued by itself."
        )
    if isinstance(options, OneOf):
        return
    if row["scheduled_at"] is not None:
        raise InvalidOption(f"scheduled_at, {name}: both say when it is due; {off}.")
    if options.adaptive:
        check_metadata(row["metadata"])
        check_metadata({**row["metadata"], CALLS: MOST_COUNTED})


def unique_key(*parts: str | None) -> bytes:
    """Sixteen bytes of BLAKE2b over the length-prefixed parts: equal parts, equal key."""
    digest = blake2b(digest_size=16)
    for part in parts:
        encoded = b"" if part is None else part.encode()
        digest.update((-1 if part is None else len(encoded)).to_bytes(4, signed=True) + encoded)
    return digest.digest()

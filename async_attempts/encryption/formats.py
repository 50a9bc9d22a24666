"""The versions of the stored bytes, each with its own derivation of keys and associated data.

All have the same layout: version (1) | key id (4) | random nonce (12) | ciphertext and
tag (16 more than the plaintext). The newest one is written; values of an older one can be
read until `attempts rotate-keys` has sealed them again.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Callable
from typing import Final, NamedTuple

from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV

from .contract import Context
from .keys import Key

_ABSENT: Final = 0xFFFF_FFFF
_FIRST_PREFIX: Final = struct.Struct(">B5I")


class Format(NamedTuple):
    """One version.

    `opener`: derives the AEAD from a key, and from `realm` and `purpose` of a context alone.
    `associated_data`: the bytes of a context that are authenticated with the ciphertext.
    """

    opener: Callable[[Key, Context], AESGCMSIV]
    associated_data: Callable[[Context], bytes]


def _first_associated_data(context: Context) -> bytes:
    """Return the associated data of version 1: purpose, id, target, target_pk and method."""
    purpose = b"args" if context.purpose == "schedule" else context.purpose.encode()
    given = context.attempt_id
    attempt_id = given.bytes if isinstance(given, uuid.UUID) else given
    pk = b"" if context.target_pk is None else context.target_pk.encode()
    fields = purpose, attempt_id, context.target.encode(), pk, context.method_name.encode()
    lengths = [len(field) for field in fields]
    if context.target_pk is None:
        lengths[3] = _ABSENT
    return _FIRST_PREFIX.pack(1, *lengths) + b"".join(fields)


def _first_opener(key: Key, _context: Context) -> AESGCMSIV:
    return key.itself()


def _second_opener(key: Key, context: Context) -> AESGCMSIV:
    return key.derived(context.realm, context.purpose)


RECIPIENTS_VERSION: Final = 0x10
"""The version of values that are sealed for a recipient; `recipient` has their layout."""

UNBOUND: Final = 1
"""The version, and first byte, of arguments that nothing binds to an attempt's prerequisites."""

FORMATS: Final = {
    1: Format(_first_opener, _first_associated_data),
    2: Format(_second_opener, Context.associated_data),
}

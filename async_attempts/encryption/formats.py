"""The versions of the stored bytes: how each derives a key and what it binds.

All of them lay the bytes out alike: version (1) | key id (4) | random nonce (12) | ciphertext and
tag (16 more than the plaintext). The newest one is written; an older one can be read until
`attempts rotate-keys` has sealed anew what it sealed.
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

    `opener`: from a key and a context to what encrypts and decrypts; depends on nothing of the
    context but `realm` and `purpose`. `associated_data`: what is authenticated with the ciphertext.
    """

    opener: Callable[[Key, Context], AESGCMSIV]
    associated_data: Callable[[Context], bytes]


def _first_associated_data(context: Context) -> bytes:
    """The associated data of version 1: purpose, id, target, target_pk and method."""
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
"""The version of what is sealed for a recipient, whose bytes `recipient` lays out."""

UNBOUND: Final = 1
"""The version, and first byte, of arguments that nothing binds to an attempt's prerequisites."""

FORMATS: Final = {
    1: Format(_first_opener, _first_associated_data),
    2: Format(_second_opener, Context.associated_data),
}

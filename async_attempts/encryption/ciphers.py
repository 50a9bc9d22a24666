"""The symmetric ciphers, AES-256-GCM-SIV and plain, and the stored bytes.

Every sealed version but a recipient's has the same layout: version (1) | key id (4) | random nonce
(12) | ciphertext and tag (16 more than the plaintext). The newest one is written; values of an
older one can be read until `attempts rotate-keys` has sealed them again.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from itertools import product
from typing import ClassVar, Final, NamedTuple, Self
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV
from django.views.decorators.debug import sensitive_variables

from ..conf import SETTING
from ..exceptions import (
    DecryptionError,
    InvalidSetting,
    RetiredKey,
    Tampered,
    UnknownFormat,
    UnknownKey,
)
from .contract import Cipher, Context, Stored
from .keys import KEY_ID_BYTES, REMEDY, Key, KeyState, keyring, listed

RECIPIENTS_VERSION: Final = 0x10
"""The version of values that are sealed for a recipient; see `recipient`."""

UNBOUND: Final = 1
"""The version, and first byte, of arguments that nothing binds to an attempt's prerequisites."""

PLAIN: Final = b"\x00"
SENT: Final = bytes([RECIPIENTS_VERSION])
HEADER_BYTES: Final = len(PLAIN) + KEY_ID_BYTES
NONCE_BYTES: Final = 12
BODY_START: Final = HEADER_BYTES + NONCE_BYTES
TAG_BYTES: Final = 16
NO_KEY: Final = "none"
"""The id of the key of what is stored in plain."""

_ABSENT: Final = 0xFFFF_FFFF
_FIRST_PREFIX: Final = struct.Struct(">B5I")

NOWHERE: Final = Context("args", bytes(16), "", None, "")


class Format(NamedTuple):
    """A version of the stored bytes.

    `opener`: derives the AEAD from a key, and from `realm` and `purpose` of a context alone.
    `associated_data`: the bytes of a context that are authenticated with the ciphertext.
    """

    opener: Callable[[Key, Context], AESGCMSIV]
    associated_data: Callable[[Context], bytes]


def _first_associated_data(context: Context) -> bytes:
    """Return the associated data of version 1: purpose, id, target, target_pk and method."""
    purpose = b"args" if context.purpose == "schedule" else context.purpose.encode()
    given = context.attempt_id
    attempt_id = given.bytes if isinstance(given, UUID) else given
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


FORMATS: Final = {
    1: Format(_first_opener, _first_associated_data),
    2: Format(_second_opener, Context.associated_data),
}


class Opener(NamedTuple):
    """A key for one purpose and realm, and what it authenticates along."""

    key: AESGCMSIV
    associated_data: Callable[[Context], bytes]


class AESGCMSIVCipher:
    """AES-256-GCM-SIV (RFC 8452): a repeated nonce reveals only that two plaintexts are equal.

    Each purpose and realm has a key of its own, derived from those in `keys`. `keys`: base64 of 32
    bytes each; the first encrypts, all decrypt but for those that begin with `retired:`, which
    `with_retired_keys` opens with.

    Raises InvalidSetting if there is no key, one is unusable or repeated or the first is retired,
    cryptography's UnsupportedAlgorithm if it was built with an OpenSSL before 3.2.
    """

    formats: ClassVar[Mapping[int, Format]] = FORMATS
    """The versions that can be opened; the newest of them is written."""

    @sensitive_variables()
    def __init__(self, keys: Sequence[str]) -> None:
        if not keys:
            raise InvalidSetting(f"{SETTING}['KEYS'] is empty. {REMEDY}")
        known = keyring(listed(keys))
        self._keys = {key_id: key for key_id, key in known.items() if not key.is_retired}
        self._retired = {key_id: key for key_id, key in known.items() if key.is_retired}
        newest = max(self.formats)
        self._header = bytes([newest]) + next(iter(self._keys))
        self._openers: dict[tuple[bytes, str, str], Opener] = {}
        # Raises now if OpenSSL is too old.
        self._opener(self._header, NOWHERE)

    def encrypt(self, plaintext: bytes, context: Context) -> bytes:
        """Return the bytes to store, sealed with the first key and bound to `context`."""
        header = self._header
        nonce = os.urandom(NONCE_BYTES)
        key, associated_data = self._opener(header, context)
        return header + nonce + key.encrypt(nonce, plaintext, associated_data(context))

    def encrypt_many(
        self, plaintexts: Sequence[bytes], context: Context, ids: Sequence[UUID]
    ) -> list[bytes]:
        """Seal each of `plaintexts` for its id, in `context` otherwise; all nonces by one call."""
        if self.formats[self._header[0]].associated_data is not Context.associated_data:
            return one_by_one(self, plaintexts, context, ids)
        seals = self._opener(self._header, context).key
        return sealed_by(seals, self._header, plaintexts, context, ids)

    def decrypt(self, stored: Stored, context: Context) -> bytes:
        """Return the plaintext. Raises UnknownKey (plain bytes, too), UnknownFormat, Tampered."""
        stored = bytes(stored)
        header = stored[:HEADER_BYTES]
        if (opener := self._openers.get((header, context.realm, context.purpose))) is None:
            if header[1:] not in self._keys or header[0] not in self.formats:
                raise self._refusal(stored, context)
            opener = self._opener(header, context)
        if len(stored) < BODY_START + TAG_BYTES:
            raise tampered(context)
        key, associated_data = opener
        nonce, sealed = stored[HEADER_BYTES:BODY_START], stored[BODY_START:]
        try:
            return key.decrypt(nonce, sealed, associated_data(context))
        except InvalidTag:
            raise tampered(context) from None

    @property
    def keys(self) -> tuple[Key, ...]:
        """Its keys, retired ones too; the one that seals comes first."""
        return (*self._keys.values(), *self._retired.values())

    def is_sealed_with_current_key(self, stored: Stored) -> bool:
        """True if the first key sealed `stored`, in the newest format."""
        return bytes(stored[:HEADER_BYTES]) == self._header

    @property
    def key_ids(self) -> list[str]:
        """The ids of the keys that decrypt, in hexadecimal and in their order."""
        return [known.hex() for known in self._keys]

    @property
    def headers(self) -> list[bytes]:
        """The headers of values that it can open."""
        return [bytes([version]) + key_id for version in self.formats for key_id in self._keys]

    def has_key(self, key_id: str) -> bool:
        """True if one of the keys that decrypt has this id, in hexadecimal."""
        return key_id in self.key_ids

    def state_of(self, key_id: str) -> KeyState:
        """Return the use of the key with this id, in hexadecimal."""
        if key_id == self._header[1:].hex():
            return KeyState.FIRST
        if self.has_key(key_id):
            return KeyState.OLD
        is_retired = any(known.hex() == key_id for known in self._retired)
        return KeyState.RETIRED if is_retired else KeyState.UNKNOWN

    def with_retired_keys(self) -> Self:
        """Return this cipher with its retired keys in use, to seal again what they sealed."""
        opening = copy(self)
        opening._keys = {**self._keys, **self._retired}
        opening._retired, opening._openers = {}, {}
        return opening

    def _opener(self, header: bytes, context: Context) -> Opener:
        """Return the opener for values with this header, which is a known one."""
        which = header, context.realm, context.purpose
        if (opener := self._openers.get(which)) is None:
            version = self.formats[header[0]]
            key = version.opener(self._keys[header[1:]], context)
            opener = self._openers[which] = Opener(key, version.associated_data)
        return opener

    def _refusal(self, stored: bytes, context: Context) -> DecryptionError:
        """Return the error for a value whose header no key fits.

        The header itself isn't authenticated, so every key and format is tried on the rest: where
        one opens it, the header was altered, and waiting for another key would be waiting for ever.
        """
        for version, key in product(self.formats, self._keys):
            try:
                self.decrypt(bytes([version]) + key + stored[HEADER_BYTES:], context)
            except Tampered:
                continue
            return tampered(context)
        return self._missing(stored, context)

    def _missing(self, stored: bytes, context: Context) -> DecryptionError:
        """Return the error that names what is missing to open `stored`, by its first bytes."""
        if stored[:1] == PLAIN:
            return UnknownKey(
                f"{name_of(context)} are not encrypted, and this process has keys.",
                key_id_of(stored),
            )
        if stored[:1] == SENT and len(stored) >= HEADER_BYTES:
            named = key_id_of(stored)
            return UnknownKey(
                f"{name_of(context)} were sealed for the recipient {named}, and this process has "
                f"no private key for it in {SETTING}['PRIVATE_KEYS']: processes that only enqueue "
                "need none, and workers read them.",
                named,
            )
        if stored and stored[0] not in self.formats and stored[:1] != SENT:
            return UnknownFormat(
                f"{name_of(context)} are stored in format {stored[0]}, which this release doesn't "
                "know; a newer one may have written them.",
                format_of(stored),
            )
        if len(stored) < BODY_START + TAG_BYTES:
            return tampered(context)
        named = key_id_of(stored)
        if self.state_of(named) is KeyState.RETIRED:
            return retired(context, named)
        return UnknownKey(
            f"{name_of(context)} were sealed with the key {named}, "
            f"which is not in this process's {SETTING}['KEYS'].",
            named,
        )


class NullCipher:
    """A cipher that keeps everything readable in the database.

    Stored bytes: version (1) | plaintext. It binds nothing: a value opens in any row.
    """

    def encrypt(self, plaintext: bytes, context: Context) -> bytes:
        """Return the bytes to store."""
        return PLAIN + plaintext

    def decrypt(self, stored: Stored, context: Context) -> bytes:
        """Return the plaintext. Raises UnknownKey for whatever isn't plain."""
        stored = bytes(stored)
        if stored[:1] != PLAIN:
            raise UnknownKey(
                f"{name_of(context)} are encrypted, and NullCipher has no key.", key_id_of(stored)
            )
        return stored[1:]


def key_id_of(stored: Stored) -> str:
    """Return the id of the key that sealed `stored`, in hexadecimal.

    NO_KEY for plain bytes; "" for what has neither form.
    """
    header = bytes(stored[:HEADER_BYTES])
    if header[:1] == PLAIN:
        return NO_KEY
    is_sealed = len(header) == HEADER_BYTES and header[0] in (*FORMATS, RECIPIENTS_VERSION)
    return header[1:].hex() if is_sealed else ""


def format_of(stored: Stored) -> str:
    """Return the name of the form of `stored` in `UnknownFormat`; "" for no bytes."""
    return f"format {stored[0]}" if len(stored) else ""


def sealed_by(
    seals: AESGCMSIV,
    prefix: bytes,
    plaintexts: Sequence[bytes],
    context: Context,
    ids: Sequence[UUID],
) -> list[bytes]:
    """Seal each of `plaintexts` for its id, after `prefix` and a nonce of its own."""
    before, after = context.around_id()
    # By one call of the system.
    nonces = os.urandom(len(plaintexts) * NONCE_BYTES)
    sealed = []
    start = 0
    for plaintext, attempt_id in zip(plaintexts, ids, strict=True):
        nonce = nonces[start : start + NONCE_BYTES]
        start += NONCE_BYTES
        bound_to = before + attempt_id.int.to_bytes(16) + after
        sealed.append(prefix + nonce + seals.encrypt(nonce, plaintext, bound_to))
    return sealed


def one_by_one(
    by: Cipher, plaintexts: Sequence[bytes], context: Context, ids: Sequence[UUID]
) -> list[bytes]:
    """Seal each of `plaintexts` for its id by the cipher `by`, in `context` otherwise."""
    return [
        by.encrypt(plaintext, context._replace(attempt_id=attempt_id))
        for plaintext, attempt_id in zip(plaintexts, ids, strict=True)
    ]


def retired(context: Context, key_id: str) -> RetiredKey:
    """Return the error for a value whose key, or whose recipient's, is retired."""
    return RetiredKey(
        f"{name_of(context)} were sealed with the key {key_id}, which is retired in this "
        f"process's {SETTING}: manage.py attempts rotate-keys seals them again.",
        key_id,
    )


def tampered(context: Context) -> Tampered:
    """Return the error for a value that was altered, or stands in another place."""
    if context.purpose == "schedule":
        return Tampered(
            f"{name_of(context)} were altered, or its definition was edited past the form: save "
            "it there, and give its arguments again."
        )
    return Tampered(f"{name_of(context)} were altered, or sealed for another row, field or target.")


def name_of(context: Context) -> str:
    """Return the name of a value in errors."""
    given = context.attempt_id
    pk = UUID(bytes=given) if isinstance(given, bytes) else given
    if context.purpose == "schedule":
        return f"The arguments of schedule {pk}"
    return f"The {context.purpose} bytes of attempt {pk}"

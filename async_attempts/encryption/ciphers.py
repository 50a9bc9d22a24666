"""The ciphers whose sealers can open: sealed by AES-256-GCM-SIV, and plain."""

from __future__ import annotations

import os
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
from .formats import FORMATS, RECIPIENTS_VERSION, Format
from .keys import KEY_ID_BYTES, REMEDY, Key, KeyState, keyring, listed

PLAIN: Final = b"\x00"
SENT: Final = bytes([RECIPIENTS_VERSION])
HEADER_BYTES: Final = len(PLAIN) + KEY_ID_BYTES
NONCE_BYTES: Final = 12
BODY_START: Final = HEADER_BYTES + NONCE_BYTES
TAG_BYTES: Final = 16
NO_KEY: Final = "none"
"""The id of the key of what is stored in plain."""


NOWHERE: Final = Context("args", bytes(16), "", None, "")


class Opener(NamedTuple):
    """A key for one purpose and realm, and what it authenticates along."""

    key: AESGCMSIV
    associated_data: Callable[[Context], bytes]


class AESGCMSIVCipher:
    """AES-256-GCM-SIV (RFC 8452): a repeated nonce reveals only that two plaintexts are equal.

    Stored bytes: see `formats`; each purpose and realm has a key of its own, derived from those in
    `keys`. `keys`: base64 of 32 bytes each; the first encrypts, all decrypt but for those that
    begin with `retired:`, which `with_retired_keys` opens with.

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
        # Where OpenSSL is too old, that is told now.
        self._opener(self._header, NOWHERE)

    def encrypt(self, plaintext: bytes, context: Context) -> bytes:
        """The bytes to store, sealed with the first key and bound to `context`."""
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
        """The plaintext. Raises UnknownKey (plain bytes included), UnknownFormat or Tampered."""
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
        """Return what the key with this id, in hexadecimal, is used for."""
        if key_id == self._header[1:].hex():
            return KeyState.FIRST
        if self.has_key(key_id):
            return KeyState.OLD
        is_retired = any(known.hex() == key_id for known in self._retired)
        return KeyState.RETIRED if is_retired else KeyState.UNKNOWN

    def with_retired_keys(self) -> Self:
        """The same cipher, which the retired keys open with, too: to seal anew what they sealed."""
        opening = copy(self)
        opening._keys = {**self._keys, **self._retired}
        opening._retired, opening._openers = {}, {}
        return opening

    def _opener(self, header: bytes, context: Context) -> Opener:
        """The opener for values with this header, which is a known one."""
        which = header, context.realm, context.purpose
        if (opener := self._openers.get(which)) is None:
            version = self.formats[header[0]]
            key = version.opener(self._keys[header[1:]], context)
            opener = self._openers[which] = Opener(key, version.associated_data)
        return opener

    def _refusal(self, stored: bytes, context: Context) -> DecryptionError:
        """Why no key fits the header.

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
        """The error that names what is missing to open `stored`, by its first bytes."""
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
    """Keeps everything readable in the database, for those who want that.

    Stored bytes: version (1) | plaintext. Binds nothing: a value opens in any row.
    """

    def encrypt(self, plaintext: bytes, context: Context) -> bytes:
        """The bytes to store."""
        return PLAIN + plaintext

    def decrypt(self, stored: Stored, context: Context) -> bytes:
        """The plaintext. Raises UnknownKey for whatever isn't plain."""
        stored = bytes(stored)
        if stored[:1] != PLAIN:
            raise UnknownKey(
                f"{name_of(context)} are encrypted, and NullCipher has no key.", key_id_of(stored)
            )
        return stored[1:]


def key_id_of(stored: Stored) -> str:
    """The id of the key that sealed `stored`, in hexadecimal; NO_KEY for plain bytes.

    Of what has neither form: "".
    """
    header = bytes(stored[:HEADER_BYTES])
    if header[:1] == PLAIN:
        return NO_KEY
    is_sealed = len(header) == HEADER_BYTES and header[0] in (*FORMATS, RECIPIENTS_VERSION)
    return header[1:].hex() if is_sealed else ""


def format_of(stored: Stored) -> str:
    """The name of the form of `stored` in `UnknownFormat`, by its version; "" of no bytes."""
    return f"format {stored[0]}" if len(stored) else ""


def sealed_by(
    seals: AESGCMSIV,
    prefix: bytes,
    plaintexts: Sequence[bytes],
    context: Context,
    ids: Sequence[UUID],
) -> list[bytes]:
    """Each of `plaintexts` sealed for its id, after `prefix` and a nonce of its own."""
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
    """The error for a value whose key, or whose recipient's, is retired."""
    return RetiredKey(
        f"{name_of(context)} were sealed with the key {key_id}, which is retired in this "
        f"process's {SETTING}: manage.py attempts rotate-keys seals them anew.",
        key_id,
    )


def tampered(context: Context) -> Tampered:
    if context.purpose == "schedule":
        return Tampered(
            f"{name_of(context)} were altered, or its definition was edited past the form: save "
            "it there, and give its arguments anew."
        )
    return Tampered(f"{name_of(context)} were altered, or sealed for another row, field or target.")


def name_of(context: Context) -> str:
    """The name of a value in errors."""
    given = context.attempt_id
    pk = UUID(bytes=given) if isinstance(given, bytes) else given
    if context.purpose == "schedule":
        return f"The arguments of schedule {pk}"
    return f"The {context.purpose} bytes of attempt {pk}"

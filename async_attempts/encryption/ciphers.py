"""The two ciphers that ship: sealed by AES-256-GCM-SIV, and plain."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV
from django.views.decorators.debug import sensitive_variables

from ..conf import SETTING
from ..exceptions import DecryptionError, InvalidSetting, Tampered, UnknownKey
from .contract import Cipher, Context, Stored
from .keys import KEY_ID_BYTES, REMEDY, invalid_key, key_id, raw_key

PLAIN: Final = b"\x00"
SEALED: Final = b"\x01"
HEADER_BYTES: Final = len(SEALED) + KEY_ID_BYTES
NONCE_BYTES: Final = 12
BODY_START: Final = HEADER_BYTES + NONCE_BYTES
TAG_BYTES: Final = 16
NO_KEY: Final = "none"
"""The id of the key of what is stored in plain."""


class AESGCMSIVCipher:
    """AES-256-GCM-SIV (RFC 8452): a repeated nonce reveals only that two plaintexts are equal.

    Stored bytes: version (1) | key id (4) | random nonce (12) | ciphertext and tag (16 more than
    the plaintext). `keys`: base64 of 32 bytes each; the first encrypts, all decrypt.

    Raises InvalidSetting if there is no key or one is unusable or repeated, cryptography's
    UnsupportedAlgorithm if it was built with an OpenSSL before 3.2.
    """

    @sensitive_variables()
    def __init__(self, keys: Sequence[str]) -> None:
        if not keys:
            raise InvalidSetting(f"{SETTING}['KEYS'] is empty. {REMEDY}")
        self._by_header: dict[bytes, AESGCMSIV] = {}
        for position, text in enumerate(keys):
            key = raw_key(text, position)
            header = SEALED + key_id(key)
            if header in self._by_header:
                raise invalid_key(position, "repeats an earlier key")
            self._by_header[header] = AESGCMSIV(key)
        self._header, self._current = next(iter(self._by_header.items()))

    def encrypt(self, plaintext: bytes, context: Context) -> bytes:
        """The bytes to store, sealed with the first key and bound to `context`."""
        nonce = os.urandom(NONCE_BYTES)
        sealed = self._current.encrypt(nonce, plaintext, context.associated_data())
        return self._header + nonce + sealed

    def encrypt_many(
        self, plaintexts: Sequence[bytes], context: Context, ids: Sequence[UUID]
    ) -> list[bytes]:
        """What `encrypt` makes of each, in `context` but for its id; all nonces by one call."""
        header, seal = self._header, self._current.encrypt
        before, after = context.around_id()
        nonces = os.urandom(len(plaintexts) * NONCE_BYTES)
        sealed = []
        start = 0
        for plaintext, attempt_id in zip(plaintexts, ids, strict=True):
            nonce = nonces[start : start + NONCE_BYTES]
            start += NONCE_BYTES
            bound_to = before + attempt_id.int.to_bytes(16) + after
            sealed.append(header + nonce + seal(nonce, plaintext, bound_to))
        return sealed

    def decrypt(self, stored: Stored, context: Context) -> bytes:
        """The plaintext. Raises UnknownKey (plain bytes included) or Tampered."""
        stored = bytes(stored)
        key = self._by_header.get(stored[:HEADER_BYTES])
        if key is None:
            raise self._refusal(stored, context)
        try:
            return _open(key, stored, context)
        except InvalidTag:
            raise _tampered(context) from None

    def is_sealed_with_current_key(self, stored: Stored) -> bool:
        """Whether the first key sealed `stored`; what isn't remains to be re-encrypted."""
        return bytes(stored[:HEADER_BYTES]) == self._header

    def has_key(self, key_id: str) -> bool:
        """True if one of the keys has this id, in hexadecimal."""
        return any(header[len(SEALED) :].hex() == key_id for header in self._by_header)

    def _refusal(self, stored: bytes, context: Context) -> DecryptionError:
        """Why no key fits the header.

        The header itself isn't authenticated, so every key is tried on the rest: where one
        opens it, the header was altered, and waiting for another key would be waiting for ever.
        """
        for key in self._by_header.values():
            try:
                _open(key, stored, context)
            except InvalidTag:
                continue
            return _tampered(context)
        if stored[:1] == PLAIN:
            return UnknownKey(
                f"{name_of(context)} are not encrypted, and this process has keys.",
                key_id_of(stored),
            )
        if stored[:1] != SEALED or len(stored) < BODY_START + TAG_BYTES:
            return _tampered(context)
        named = key_id_of(stored)
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
    return header[1:].hex() if header[:1] == SEALED and len(header) == HEADER_BYTES else ""


def is_ours(by: Cipher) -> bool:
    """Whether it encrypts as it ships: a project's own may ask a database for its keys."""
    return type(by).encrypt in (AESGCMSIVCipher.encrypt, NullCipher.encrypt)


def encrypt_many(
    by: Cipher, plaintexts: Sequence[bytes], context: Context, ids: Sequence[UUID]
) -> list[bytes]:
    """What the cipher `by` makes of each of `plaintexts`, in `context` but for its id."""
    if isinstance(by, AESGCMSIVCipher) and is_ours(by):
        return by.encrypt_many(plaintexts, context, ids)
    return [
        by.encrypt(plaintext, context._replace(attempt_id=attempt_id))
        for plaintext, attempt_id in zip(plaintexts, ids, strict=True)
    ]


def _open(key: AESGCMSIV, stored: bytes, context: Context) -> bytes:
    """The plaintext. Raises InvalidTag, also where `stored` is cut short."""
    if len(stored) < BODY_START + TAG_BYTES:
        raise InvalidTag
    nonce, sealed = stored[HEADER_BYTES:BODY_START], stored[BODY_START:]
    return key.decrypt(nonce, sealed, context.associated_data())


def _tampered(context: Context) -> Tampered:
    return Tampered(f"{name_of(context)} were altered, or sealed for another row, field or target.")


def name_of(context: Context) -> str:
    """What a value is called in errors."""
    given = context.attempt_id
    attempt_id = UUID(bytes=given) if isinstance(given, bytes) else given
    return f"The {context.purpose} bytes of attempt {attempt_id}"

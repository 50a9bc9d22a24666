"""What a key is: 32 random bytes, written in base64."""

from __future__ import annotations

import base64
import os
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.utils.encoding import force_bytes

from ..conf import SETTING
from ..exceptions import InvalidSetting

KEY_BYTES: Final = 32
KEY_ID_BYTES: Final = 4
REMEDY: Final = "Make a key with: manage.py attempts make-key"


def new_key() -> str:
    """Return a fresh key: 32 random bytes in base64."""
    return base64.b64encode(os.urandom(KEY_BYTES)).decode()


def invalid_key(position: int, problem: str) -> InvalidSetting:
    """The error for the key at `position` (from 0), which never shows the key."""
    return InvalidSetting(f"{SETTING}['KEYS'][{position}] {problem}. {REMEDY}")


def raw_key(text: str, position: int) -> bytes:
    """The 32 bytes behind `text`: base64, standard or URL-safe, padded or not.

    Raises InvalidSetting naming the `position` in KEYS.
    """
    standard = text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4)
    try:
        key = base64.b64decode(standard, validate=True)
    except ValueError:
        raise invalid_key(position, "is not base64") from None
    if len(key) != KEY_BYTES:
        raise invalid_key(position, f"has {len(key)} bytes, a key has {KEY_BYTES}")
    return key


class Key:
    """A key of the setting `KEYS`, which no repr shows.

    `id`: the 4 bytes that name it in what it sealed, and tell nothing about it.
    """

    __slots__ = ("_secret", "id")

    def __init__(self, text: str, position: int) -> None:
        """Raises InvalidSetting naming the `position` in KEYS."""
        self._secret = raw_key(text, position)
        self.id = _derived(self._secret, "key id", KEY_ID_BYTES)

    def itself(self) -> AESGCMSIV:
        """The cipher of this very key, as version 1 of the stored bytes has it."""
        return AESGCMSIV(self._secret)

    def derived(self, *uses: str) -> AESGCMSIV:
        """The cipher of a key of its own for these `uses`; different ones give unrelated keys."""
        named = [use.encode() for use in uses]
        info = b"".join(len(name).to_bytes(4) + name for name in named)
        return AESGCMSIV(_hkdf(self._secret, b"async_attempts.encryption 2" + info, KEY_BYTES))

    def __repr__(self) -> str:
        return f"<Key {self.id.hex()}>"


def key_derived_from(secret: str | bytes) -> str:
    """A key, in base64, that depends on `secret` alone."""
    return base64.b64encode(_derived(force_bytes(secret), "key", KEY_BYTES)).decode()


def _derived(secret: bytes, use: str, length: int) -> bytes:
    return _hkdf(secret, f"async_attempts.encryption 1: {use}".encode(), length)


def _hkdf(secret: bytes, info: bytes, length: int) -> bytes:
    """`length` bytes by HKDF-SHA256 (RFC 5869)."""
    return HKDF(algorithm=SHA256(), length=length, salt=None, info=info).derive(secret)

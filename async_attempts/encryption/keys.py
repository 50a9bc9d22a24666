"""Keys, of 32 random bytes in base64: how settings and files list them, and what they derive."""

from __future__ import annotations

import base64
import os
import stat
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Final, NamedTuple

from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.utils.encoding import force_bytes
from django.views.decorators.debug import sensitive_variables

from ..conf import SETTING, settings
from ..exceptions import InvalidSetting

KEY_BYTES: Final = 32
KEY_ID_BYTES: Final = 4
LEAST_DIFFERENT: Final = 16
"""The least number of different bytes in a key; one of 2⁵⁵ random keys has fewer."""

RETIRED: Final = "retired:"
"""The prefix of a key that opens values for `attempts rotate-keys` alone."""

COMMENT: Final = "#"
REMEDY: Final = "Make a key with: manage.py attempts make-key"


class KeyState(StrEnum):
    """The use of a key."""

    FIRST = "first"
    """It encrypts, and decrypts."""

    OLD = "old"
    """It decrypts."""

    RETIRED = "retired"
    """It decrypts for `attempts rotate-keys` alone."""

    UNKNOWN = "unknown"
    """It isn't in the settings."""


def new_key() -> str:
    """Return a fresh key: 32 random bytes in base64."""
    return base64.b64encode(os.urandom(KEY_BYTES)).decode()


class Line(NamedTuple):
    """A key as it is written in the settings or in a file; `where` names its place in errors."""

    where: str
    text: str

    def __repr__(self) -> str:
        return f"<Line {self.where}>"


def listed(keys: Iterable[str], setting: str = "KEYS") -> list[Line]:
    """Return the keys of `setting` with their places, from 0."""
    return [Line(f"{SETTING}[{setting!r}][{number}]", text) for number, text in enumerate(keys)]


def given_lines(setting: str) -> list[Line]:
    """Return the keys of `setting`, or of the file that the setting `…_FILE` beside it names.

    Raises InvalidSetting for a file that can't be read or holds no key.
    """
    path = getattr(settings(), f"{setting}_FILE")
    if path is None:
        return listed(getattr(settings(), setting), setting)
    return _lines_of(path, f"{setting}_FILE")


@sensitive_variables()
def _lines_of(path: str, setting: str) -> list[Line]:
    """Return the keys in the file at `path`, which `setting` names, in their order; not empty.

    Raises InvalidSetting, which names the file and never shows what it holds.
    """
    place = f"{SETTING}[{setting!r}]"
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InvalidSetting(f"{place}: {path!r} can't be read: {reason}.") from error
    # An error of decoding would carry the content along.
    text = content.decode("utf-8-sig", "replace")
    lines = [
        Line(f"{place}, line {number} of {path!r},", key)
        for number, line in enumerate(text.split("\n"), 1)
        if (key := line.strip()) and not key.startswith(COMMENT)
    ]
    if not lines:
        raise InvalidSetting(f"{place}: {path!r} holds no key. {REMEDY}")
    return lines


def is_readable_by_all(path: str) -> bool:
    """Return True if there is a file at `path` that every user of the machine may read."""
    try:
        mode = Path(path).stat().st_mode
    except OSError:
        return False
    return bool(mode & stat.S_IROTH)


def keyring(lines: Iterable[Line]) -> dict[bytes, Key]:
    """Return the keys by their ids, in their order.

    Raises InvalidSetting, which names the place of one that is unusable or repeated, or of a
    retired one that comes first, and never shows it.
    """
    keys: dict[bytes, Key] = {}
    for line in lines:
        key = Key(line.text, line.where)
        if key.id in keys:
            raise invalid_key(line.where, "repeats an earlier key")
        if key.is_retired and not keys:
            raise invalid_key(line.where, "is retired, and the first key encrypts: add a new one")
        keys[key.id] = key
    return keys


def invalid_key(where: str, problem: str, remedy: str = REMEDY) -> InvalidSetting:
    """Return the error for the key at `where`, which never shows the key."""
    return InvalidSetting(f"{where} {problem}. {remedy}")


def raw_key(text: str, where: str, remedy: str = REMEDY) -> bytes:
    """Return the 32 bytes behind `text`: base64, standard or URL-safe, padded or not.

    Raises InvalidSetting, naming `where`.
    """
    standard = text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4)
    try:
        key = base64.b64decode(standard, validate=True)
    except ValueError:
        raise invalid_key(where, "is not base64", remedy) from None
    if len(key) != KEY_BYTES:
        raise invalid_key(where, f"has {len(key)} bytes, a key has {KEY_BYTES}", remedy)
    return key


class Key:
    """A key of the setting `KEYS`, which no repr shows.

    `id`: the 4 bytes that name it in what it sealed, and tell nothing about it. `is_retired`: it
    opens for `attempts rotate-keys` alone.
    """

    __slots__ = ("_secret", "id", "is_retired", "weakness")

    def __init__(self, text: str, where: str = "The key") -> None:
        """Read base64, with `retired:` before it or not. Raises InvalidSetting, naming `where`."""
        self.is_retired = text.startswith(RETIRED)
        self._secret = raw_key(text.removeprefix(RETIRED), where)
        self.id = _derived(self._secret, "key id", KEY_ID_BYTES)
        different = len({*self._secret})
        is_weak = different < LEAST_DIFFERENT
        self.weakness = (
            f"{where} has only {different} different bytes: it isn't random." if is_weak else ""
        )
        """The problem that the system check reports; "" for a random key."""

    def itself(self) -> AESGCMSIV:
        """Return the AEAD of this very key, which version 1 of the stored bytes uses."""
        return AESGCMSIV(self._secret)

    def derived(self, *uses: str) -> AESGCMSIV:
        """Return the AEAD of a key derived for these `uses`; different ones give unrelated keys."""
        info = b"async_attempts.encryption 2" + joined(uses)
        return AESGCMSIV(_hkdf(self._secret, info, KEY_BYTES))

    def shared_secret(self) -> bytes:
        """Return the 32 bytes that senders and recipients share; they don't reveal the key."""
        return _derived(self._secret, "shared with recipients", KEY_BYTES)

    def __repr__(self) -> str:
        return f"<Key {self.id.hex()}>"


def joined(uses: Iterable[str]) -> bytes:
    """Return the bytes of several names, different for any two lists of them."""
    named = [use.encode() for use in uses]
    return b"".join(len(name).to_bytes(4) + name for name in named)


def key_derived_from(secret: str | bytes) -> str:
    """Return a key, in base64, that depends on `secret` alone."""
    return base64.b64encode(_derived(force_bytes(secret), "key", KEY_BYTES)).decode()


def _derived(secret: bytes, use: str, length: int) -> bytes:
    return _hkdf(secret, f"async_attempts.encryption 1: {use}".encode(), length)


def _hkdf(secret: bytes, info: bytes, length: int) -> bytes:
    """Return `length` bytes by HKDF-SHA256 (RFC 5869)."""
    return HKDF(algorithm=SHA256(), length=length, salt=None, info=info).derive(secret)

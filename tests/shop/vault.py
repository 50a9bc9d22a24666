"""Ciphers of other releases, and one of a project's own, whose server can be out of reach."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import ClassVar, Final

from async_attempts.encryption import AESGCMSIVCipher, Context, Stored
from async_attempts.encryption.ciphers import FORMATS, Format

_BOUND: Final = re.compile(rb',"[0-9a-f]{64}"]$')


class Vault(AESGCMSIVCipher):
    """Asks `reach("encrypt")` or `reach("decrypt")` before it does so."""

    reach: ClassVar[Callable[[str], object]] = staticmethod(lambda _: None)

    def encrypt(self, plaintext: bytes, context: Context) -> bytes:
        """The bytes to store. Raises what `reach` raises."""
        type(self).reach("encrypt")
        return super().encrypt(plaintext, context)

    def decrypt(self, stored: Stored, context: Context) -> bytes:
        """The plaintext. Raises what `reach` raises."""
        type(self).reach("decrypt")
        return super().decrypt(stored, context)


class FirstVersion(AESGCMSIVCipher):
    """That of a release which knows only version 1 of the stored bytes, and binds arguments to no
    prerequisites.
    """

    formats: ClassVar = {1: FORMATS[1]}

    def encrypt(self, plaintext: bytes, context: Context) -> bytes:
        """The bytes to store, in version 1."""
        if context.purpose == "args":
            plaintext = _BOUND.sub(b"]", plaintext)
        return super().encrypt(plaintext, context)


class NextVersion(AESGCMSIVCipher):
    """That of a release to come, which writes version 3."""

    formats: ClassVar = {
        **FORMATS,
        3: Format(
            lambda key, context: key.derived("next", context.realm, context.purpose),
            Context.associated_data,
        ),
    }


class Hexadecimal:
    """One whose server answers in text, as many do."""

    def encrypt(self, plaintext: bytes, context: Context) -> bytes:
        """The bytes to store."""
        return b"vault:v1:" + plaintext.hex().encode()

    def decrypt(self, stored: Stored, context: Context) -> bytes:
        """The plaintext."""
        return bytes.fromhex(bytes(stored).removeprefix(b"vault:v1:").decode())

"""A cipher of a project's own, whose server can be out of reach."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from async_attempts.encryption import AESGCMSIVCipher, Context, Stored


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

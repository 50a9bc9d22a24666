"""Owns how arguments, results and errors are sealed: stored bytes, keys, choice of cipher.

`contract` says what a cipher is and what a value is bound to, `keys` what a key is, `ciphers` has
the two that ship, `configured` chooses by the settings. Nothing else in the package sees a key.
"""

from __future__ import annotations

from .ciphers import AESGCMSIVCipher, NullCipher, encrypt_many, is_ours
from .configured import cipher, configuration_problem, uses_derived_key
from .contract import Cipher, Context, Purpose, Stored

__all__ = [
    "AESGCMSIVCipher",
    "Cipher",
    "Context",
    "NullCipher",
    "Purpose",
    "Stored",
    "cipher",
    "configuration_problem",
    "encrypt_many",
    "is_ours",
    "uses_derived_key",
]

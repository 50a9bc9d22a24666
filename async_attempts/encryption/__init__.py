"""Owns how arguments, results and errors are sealed: stored bytes, keys, choice of cipher.

`contract` says what a cipher is and what a value is bound to, `keys` what a key is, `key_file` how
a file lists them, `ciphers` has the two that ship, `configured` chooses by the settings. Nothing
else in the package sees a key.
"""

from __future__ import annotations

from .ciphers import (
    HEADER_BYTES,
    NO_KEY,
    AESGCMSIVCipher,
    KeyState,
    NullCipher,
    binds_prerequisites,
    encrypt_many,
    is_ours,
    key_id_of,
)
from .configured import (
    cipher,
    configuration_problem,
    context_of,
    foreign_header,
    may_block,
    open_sealed,
    seal,
    uses_derived_key,
)
from .contract import Cipher, Context, Purpose, Stored
from .key_file import is_readable_by_all
from .keys import new_key

__all__ = [
    "HEADER_BYTES",
    "NO_KEY",
    "AESGCMSIVCipher",
    "Cipher",
    "Context",
    "KeyState",
    "NullCipher",
    "Purpose",
    "Stored",
    "binds_prerequisites",
    "cipher",
    "configuration_problem",
    "context_of",
    "encrypt_many",
    "foreign_header",
    "is_ours",
    "is_readable_by_all",
    "key_id_of",
    "may_block",
    "new_key",
    "open_sealed",
    "seal",
    "uses_derived_key",
]

"""Owns how arguments, results and errors are sealed: stored bytes, keys, choice of cipher.

`contract` says what a cipher is and what a value is bound to, `keys` what a key is. `ciphers` and
`recipient` have the ciphers that ship, `configured` chooses by the settings. Nothing else in the
package sees a key.
"""

from __future__ import annotations

from .ciphers import (
    HEADER_BYTES,
    NO_KEY,
    UNBOUND,
    AESGCMSIVCipher,
    NullCipher,
    format_of,
    key_id_of,
)
from .configured import (
    cipher,
    configuration_problem,
    context_of,
    encrypt,
    encrypt_many,
    foreign_header,
    idle_key_settings,
    is_ours,
    may_be_unbound,
    may_block,
    open_sealed,
    openable,
    opening_problem,
    seal,
    uses_derived_key,
)
from .contract import Cipher, Context, KeyedCipher, Purpose, Stored
from .keys import KeyState, is_readable_by_all, new_key
from .recipient import RecipientCipher, new_recipient

__all__ = [
    "HEADER_BYTES",
    "NO_KEY",
    "UNBOUND",
    "AESGCMSIVCipher",
    "Cipher",
    "Context",
    "KeyState",
    "KeyedCipher",
    "NullCipher",
    "Purpose",
    "RecipientCipher",
    "Stored",
    "cipher",
    "configuration_problem",
    "context_of",
    "encrypt",
    "encrypt_many",
    "foreign_header",
    "format_of",
    "idle_key_settings",
    "is_ours",
    "is_readable_by_all",
    "key_id_of",
    "may_be_unbound",
    "may_block",
    "new_key",
    "new_recipient",
    "open_sealed",
    "openable",
    "opening_problem",
    "seal",
    "uses_derived_key",
]

"""The settings of processes that only enqueue, and of workers: each has the keys that it needs."""

from __future__ import annotations

from typing import Any, Final

from async_attempts.encryption import new_recipient

PRIVATE, PUBLIC = new_recipient()
CIPHER: Final = "async_attempts.encryption.RecipientCipher"
WEB: Final[dict[str, Any]] = {"CIPHER": CIPHER, "RECIPIENTS": [PUBLIC]}
WORKER: Final[dict[str, Any]] = WEB | {"PRIVATE_KEYS": [PRIVATE]}

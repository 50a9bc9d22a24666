"""What a cipher is, and what a sealed value is bound to."""

from __future__ import annotations

import struct
import uuid
from functools import lru_cache
from typing import Final, Literal, NamedTuple, Protocol, runtime_checkable

Purpose = Literal["args", "result", "error"]
Stored = bytes | memoryview
"""What a binary column gives: which of the two depends on the database's driver."""

_SCHEMA_VERSION: Final = 1
_ID_BYTES: Final = 16
_ABSENT: Final = 0xFFFF_FFFF
_PREFIX: Final = struct.Struct(">B5I")


class Context(NamedTuple):
    """Where a sealed value belongs: it opens nowhere else.

    `purpose` is the field, the rest is the attempt's promise: its id, as a UUID or its 16 bytes,
    and the target; `target_pk` is None unless that is a model instance.
    """

    purpose: Purpose
    attempt_id: uuid.UUID | bytes
    target: str
    target_pk: str | None
    method_name: str

    def associated_data(self) -> bytes:
        """The context as bytes, different for any two contexts.

        The schema version (1 byte), the five lengths in the order of the fields (4 bytes each,
        big-endian, in bytes; 0xFFFFFFFF for a `target_pk` of None), then the five fields: UTF-8,
        the id as its 16 bytes.
        """
        before, after = self.around_id()
        attempt_id = self.attempt_id
        id_bytes = attempt_id if isinstance(attempt_id, bytes) else attempt_id.int.to_bytes(16)
        return before + id_bytes + after

    def around_id(self) -> tuple[bytes, bytes]:
        """What comes before and after the id in `associated_data`."""
        purpose, _, target, target_pk, method_name = self
        around = _around_id if target_pk is None else _around_id.__wrapped__
        return around(purpose, target, target_pk, method_name)


@lru_cache(maxsize=1024)
def _around_id(
    purpose: str, target: str, target_pk: str | None, method_name: str
) -> tuple[bytes, bytes]:
    field, owner, method = purpose.encode(), target.encode(), method_name.encode()
    pk = b"" if target_pk is None else target_pk.encode()
    lengths = _PREFIX.pack(
        _SCHEMA_VERSION,
        len(field),
        _ID_BYTES,
        len(owner),
        _ABSENT if target_pk is None else len(pk),
        len(method),
    )
    return lengths + field, owner + pk + method


@runtime_checkable
class Cipher(Protocol):
    """Seals values and opens them; safe to use from several threads.

    The class that the setting `CIPHER` names is made without arguments, once per process.
    """

    def encrypt(self, plaintext: bytes, context: Context) -> bytes:
        """The bytes to store, bound to `context`.

        Whatever it raises means that the cipher can't be reached now: enqueueing raises it to its
        caller, a failure is recorded without its details, a result is tried again for a while.
        """
        ...

    def decrypt(self, stored: Stored, context: Context) -> bytes:
        """The plaintext.

        Raises UnknownKey if another process could open it (the attempt is released and tried
        later), Tampered if none can (the attempt fails for good). Anything else that it raises
        means that the cipher can't be reached now: the attempt is released and tried later.
        """
        ...

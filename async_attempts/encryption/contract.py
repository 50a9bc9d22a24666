"""The contract of a cipher, and the context that a sealed value is bound to."""

from __future__ import annotations

import struct
import uuid
from functools import lru_cache
from typing import Final, Literal, NamedTuple, Protocol, Self, runtime_checkable

from .keys import KeyState

Purpose = Literal["args", "schedule", "result", "error"]
Stored = bytes | memoryview
"""A binary column's value: which of the two depends on the database's driver."""

_ABSENT: Final = b"\xff\xff\xff\xff"
_length: Final = struct.Struct(">I").pack
_ID_BYTES: Final = _length(16)
_NO_MORE: Final = 2 * _ABSENT


class Context(NamedTuple):
    """The place of a sealed value: it opens nowhere else.

    `purpose`: the field. `attempt_id`: the id of the attempt, or of the schedule, as a UUID or its
    16 bytes. `target`, `target_pk`, `method_name`: the call; `target_pk` is None unless the target
    is a model instance. `idempotence_token`: the attempt's, if it has one. `realm`: the setting
    `REALM` for the row's database. `execution`: of an error, the number of the execution that
    failed. `definition`: of a schedule, its name, cron or interval, time zone, overlap and
    catch-up; then its end, its subject, and a mark of an operator's times, if there are any.
    """

    purpose: Purpose
    attempt_id: uuid.UUID | bytes
    target: str
    target_pk: str | None
    method_name: str
    idempotence_token: str | None = None
    realm: str = ""
    execution: int | None = None
    definition: tuple[str, ...] = ()

    def associated_data(self) -> bytes:
        """Return the context as bytes, different for any two contexts.

        One field after the other, each as its length in bytes (4 bytes, big-endian) and its bytes:
        the purpose, the realm, `target`, `target_pk`, `method_name`, the id (16 bytes), the token,
        the execution's number (decimal), then the definition's. Text is UTF-8. A field that is
        None has the length 0xFFFFFFFF and no bytes.
        """
        before, after = self.around_id()
        given = self.attempt_id
        return before + (given if type(given) is bytes else _bytes_of(given)) + after

    def around_id(self) -> tuple[bytes, bytes]:
        """Return the bytes before and after the id in `associated_data`."""
        purpose, _, target, target_pk, method_name, token, realm, execution, definition = self
        call = _call if target_pk is None else _call.__wrapped__
        before = call(purpose, realm, target, target_pk, method_name)
        if token is None and execution is None and not definition:
            return before, _NO_MORE
        number = None if execution is None else str(execution)
        return before, b"".join(map(_field, (token, number, *definition)))


@lru_cache(maxsize=1024)
def _call(purpose: str, realm: str, target: str, target_pk: str | None, method_name: str) -> bytes:
    fields = (purpose, realm, target, target_pk, method_name)
    return b"".join(map(_field, fields)) + _ID_BYTES


def _bytes_of(attempt_id: uuid.UUID | bytes) -> bytes:
    return attempt_id.bytes if isinstance(attempt_id, uuid.UUID) else bytes(attempt_id)


def _field(value: str | None) -> bytes:
    if value is None:
        return _ABSENT
    # A row that was changed past the package may hold a lone surrogate on SQLite.
    given = value.encode("utf-8", "surrogatepass")
    return _length(len(given)) + given


@runtime_checkable
class Cipher(Protocol):
    """A cipher that seals values and opens them; safe to use from several threads.

    The class that the setting `CIPHER` names is made without arguments, once per process.
    """

    def encrypt(self, plaintext: bytes, context: Context) -> bytes:
        """Return the bytes to store, bound to `context`.

        Any exception means that the cipher can't be reached now: enqueueing raises it to its
        caller, a failure is recorded without its details, a result is tried again for a while.
        """
        ...

    def decrypt(self, stored: Stored, context: Context) -> bytes:
        """Return the plaintext.

        Raises UnknownKey or UnknownFormat if another process could open it (the attempt is
        released and tried later), Tampered if none can (the attempt fails for good). Any other
        exception means that the cipher can't be reached now: the attempt is released and tried
        later.
        """
        ...


@runtime_checkable
class KeyedCipher(Cipher, Protocol):
    """A cipher whose keys can be rotated: `attempts rotate-keys` seals again what isn't current."""

    @property
    def key_ids(self) -> list[str]:
        """The ids of the keys in use, as `UnknownKey.key_id` names one; the first one seals."""
        ...

    def is_sealed_with_current_key(self, stored: Stored) -> bool:
        """Return True if sealing it again would change nothing but the nonce."""
        ...

    def has_key(self, key_id: str) -> bool:
        """Return True unless the key with this id is missing here."""
        ...

    def state_of(self, key_id: str) -> KeyState:
        """Return the use of the key with this id."""
        ...

    def with_retired_keys(self) -> Self:
        """Return this cipher with its retired keys in use, to seal again what they sealed."""
        ...

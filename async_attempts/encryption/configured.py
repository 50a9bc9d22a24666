"""The cipher that the settings ask for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from cryptography.exceptions import UnsupportedAlgorithm
from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string
from django.views.decorators.debug import sensitive_variables

from ..conf import SETTING, cached, realm_of, settings
from ..exceptions import CipherUnavailable, DecryptionError, InvalidSetting
from ..plaintext import Plaintext, hide_values, hides_values
from .ciphers import (
    HEADER_BYTES,
    NO_KEY,
    PLAIN,
    UNBOUND,
    AESGCMSIVCipher,
    NullCipher,
    key_id_of,
    name_of,
    one_by_one,
)
from .contract import Cipher, Context, KeyedCipher, Purpose, Stored
from .keys import REMEDY, given_lines, key_derived_from, keyring
from .recipient import RecipientCipher, private_ring


@cached(SETTING, "SECRET_KEY", "DEBUG")
@hides_values
@sensitive_variables()
def cipher() -> Cipher:
    """Return the cipher in force; follows `override_settings`.

    `CIPHER` names a class, AESGCMSIVCipher by default: that one and its subclasses are given
    `KEYS`, or what the file has that `KEYS_FILE` names. RecipientCipher and its subclasses are
    given the same, `RECIPIENTS`, and `PRIVATE_KEYS` or what is in `PRIVATE_KEYS_FILE`. Any other
    class is made without arguments. AESGCMSIVCipher without keys, and with `DEBUG`, is given a key
    that is derived from `SECRET_KEY`.

    Raises InvalidSetting, and what AESGCMSIVCipher raises.
    """
    kind = _cipher_class()
    if issubclass(kind, RecipientCipher):
        return _made_for_recipients(kind)
    if not issubclass(kind, AESGCMSIVCipher):
        return kind()
    if uses_derived_key():
        return kind([key_derived_from(django_settings.SECRET_KEY)])
    lines = given_lines("KEYS")
    if not lines:
        raise InvalidSetting(
            f"{SETTING}['KEYS'] is empty, and only with DEBUG is a key derived from SECRET_KEY. "
            f"{REMEDY}"
        )
    # Here, as the cipher can't name the line of a file.
    keyring(lines)
    return kind([line.text for line in lines])


@sensitive_variables()
def _made_for_recipients(kind: type[RecipientCipher]) -> RecipientCipher:
    lines, private = given_lines("KEYS"), given_lines("PRIVATE_KEYS")
    keyring(lines)
    private_ring(private)
    recipients = settings().RECIPIENTS
    return kind([line.text for line in lines], recipients, [line.text for line in private])


class Call(Protocol):
    """The columns of an attempt that its sealed values are bound to."""

    @property
    def target(self) -> str: ...
    @property
    def target_pk(self) -> str | None: ...
    @property
    def method_name(self) -> str: ...
    @property
    def idempotence_token(self) -> str | None: ...


def context_of(
    purpose: Purpose, attempt_id: UUID | bytes, call: Call, alias: str, execution: int | None = None
) -> Context:
    """Return the context of a value of the attempt with these columns, on the database `alias`.

    `execution`: its number, for the error of one. Raises InvalidSetting if `REALM` lacks the alias.
    """
    return Context(
        purpose,
        attempt_id,
        call.target,
        call.target_pk,
        call.method_name,
        call.idempotence_token,
        realm_of(alias),
        execution,
    )


def open_sealed(stored: Stored, context: Context, by: Cipher | None = None) -> Plaintext:
    """Return the plaintext of `stored`, by the cipher in force, or `by` another.

    Raises DecryptionError, which says something about the bytes; CipherUnavailable for whatever
    else a cipher raises, and for one that can't be made.
    """
    try:
        return Plaintext((by or cipher()).decrypt(stored, context))
    except DecryptionError as error:
        hide_values(error)
        raise
    except Exception as error:
        hide_values(error)
        raise _unavailable("opened", context, error) from error


def seal(plaintext: bytes, context: Context, by: Cipher | None = None) -> bytes:
    """Return the bytes to store for `plaintext`, by the cipher in force, or `by` another.

    Raises CipherUnavailable, whatever the cipher raised.
    """
    try:
        return (by or cipher()).encrypt(plaintext, context)
    except Exception as error:
        hide_values(error)
        raise _unavailable("sealed", context, error) from error


@hides_values
def encrypt(plaintext: bytes, context: Context) -> bytes:
    """Return the bytes to store, by the cipher in force. Raises what that raises."""
    return cipher().encrypt(plaintext, context)


@hides_values
def encrypt_many(
    by: Cipher, plaintexts: Sequence[bytes], context: Context, ids: Sequence[UUID]
) -> list[bytes]:
    """Encrypt each of `plaintexts` with the cipher `by`, in `context` with its own id.

    Raises what the cipher raises.
    """
    if isinstance(by, AESGCMSIVCipher | RecipientCipher) and is_ours(by):
        return by.encrypt_many(plaintexts, context, ids)
    return one_by_one(by, plaintexts, context, ids)


def _cipher_if_made() -> Cipher | None:
    """Return the cipher in force; None if it can't be made, which sealing and opening raise."""
    try:
        return cipher()
    except Exception:  # noqa: BLE001 - a project's own class may raise anything
        return None


def is_ours(by: Cipher) -> bool:
    """Return True if it encrypts as it ships; a project's own may ask a server for its keys."""
    ours = AESGCMSIVCipher.encrypt, RecipientCipher.encrypt, NullCipher.encrypt
    return type(by).encrypt in ours


def may_block() -> bool:
    """Return True if the cipher in force is a project's own, which may wait for a server."""
    by = _cipher_if_made()
    return by is None or not is_ours(by)


def may_be_unbound(stored: Stored) -> bool:
    """Return True if these arguments may be bound to no prerequisites, as in older releases.

    Version 1 says so itself; what is plain, or a project's own cipher sealed, has no version.
    """
    return bytes(stored[:1]) in (bytes([UNBOUND]), PLAIN) or may_block()


def foreign_header(stored: Stored) -> bytes | None:
    """Return the first bytes of `stored` if whatever begins with them can't be opened here.

    None if there is a key for it, and where the cipher is a project's own: what its values begin
    with tells nothing.
    """
    if (by := _cipher_if_made()) is None or not _opens_as_ours(by):
        return None
    key_id = key_id_of(stored)
    has_key = by.has_key(key_id) if isinstance(by, KeyedCipher) else key_id == NO_KEY
    return None if has_key else bytes(stored[:HEADER_BYTES])


def openable() -> list[str]:
    """Return the headers of values that can be opened here, in hexadecimal.

    "" stands for all values, where the cipher is a project's own.
    """
    if (by := _cipher_if_made()) is None:
        return []
    if not _opens_as_ours(by):
        return [""]
    headers = by.headers if isinstance(by, AESGCMSIVCipher | RecipientCipher) else [PLAIN]
    return [header.hex() for header in headers]


def _opens_as_ours(by: Cipher) -> bool:
    """Return True if it decrypts as it ships; with a project's own, headers mean nothing."""
    ours = AESGCMSIVCipher.decrypt, RecipientCipher.decrypt, NullCipher.decrypt
    return type(by).decrypt in ours


def _unavailable(done: str, context: Context, error: Exception) -> CipherUnavailable:
    name = type(error).__name__
    return CipherUnavailable(f"{name_of(context)} can't be {done} now: {name}", name)


def configuration_problem() -> str | None:
    """Return the reason why `cipher()` can't be made, with the remedy; None if it can."""
    try:
        cipher()
    except (InvalidSetting, ImproperlyConfigured, UnsupportedAlgorithm) as error:
        return str(error)
    return None


def opening_problem() -> str | None:
    """Return the reason why a process that can seal opens nothing, with the remedy; else None."""
    by = _cipher_if_made()
    if not isinstance(by, RecipientCipher) or by.opens:
        return None
    return (
        f"{SETTING}['PRIVATE_KEYS'] is empty: this process can enqueue attempts, and open none. "
        "Give workers the private key of the first of RECIPIENTS."
    )


def idle_key_settings() -> list[str]:
    """Return the settings of RecipientCipher that are given although another cipher is in force."""
    if issubclass(_cipher_class(), RecipientCipher):
        return []
    names = "RECIPIENTS", "PRIVATE_KEYS", "PRIVATE_KEYS_FILE"
    return [name for name in names if getattr(settings(), name)]


def uses_derived_key() -> bool:
    """Return True if the key comes from SECRET_KEY, which is for development only.

    Raises InvalidSetting if the settings can't be read; `configuration_problem` says so first.
    """
    if settings().KEYS or settings().KEYS_FILE or not django_settings.DEBUG:
        return False
    return issubclass(_cipher_class(), AESGCMSIVCipher)


def _cipher_class() -> type[Cipher]:
    path = settings().CIPHER
    if path is None:
        return AESGCMSIVCipher
    try:
        named = import_string(path)
    except ImportError as error:
        raise InvalidSetting(f"{SETTING}['CIPHER']: {error}") from error
    if not isinstance(named, type) or not issubclass(named, Cipher):
        raise InvalidSetting(
            f"{SETTING}['CIPHER'] must name a class with the methods encrypt(plaintext, context) "
            f"and decrypt(stored, context); {path!r} is not one."
        )
    return named

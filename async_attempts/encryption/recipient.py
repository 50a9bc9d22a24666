"""The cipher that seals for a recipient's public key: a process that seals can't open.

Stored bytes: version 0x10 (1) | id of the recipient and the shared secret (4) | ephemeral public
key (32) | random nonce (12) | ciphertext and tag (16 more than the plaintext).
"""

from __future__ import annotations

import base64
import hmac
import os
from collections.abc import Iterable, Sequence
from copy import copy
from functools import lru_cache
from time import monotonic
from typing import Final, NamedTuple, Self
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV
from django.views.decorators.debug import sensitive_variables

from ..conf import SETTING
from ..exceptions import InvalidSetting, UnknownFormat, UnknownKey
from .ciphers import (
    HEADER_BYTES,
    NONCE_BYTES,
    SENT,
    TAG_BYTES,
    AESGCMSIVCipher,
    key_id_of,
    retired,
    sealed_by,
    tampered,
)
from .contract import Context, Stored
from .hpke import ENCAPSULATED_BYTES, Export, Shared, receive, send
from .keys import KEY_ID_BYTES, RETIRED, Key, KeyState, Line, invalid_key, joined, listed, raw_key

INFO: Final = b"async_attempts.encryption 16"
NONCE_START: Final = HEADER_BYTES + ENCAPSULATED_BYTES
BODY_START: Final = NONCE_START + NONCE_BYTES

REMEDY: Final = "Make a private and a public key with: manage.py attempts make-key --recipient"

RENEWED_AFTER: Final = 60.0
"""Seconds for which a process seals with one ephemeral key."""

MOST_OPENERS: Final = 256
"""The number of keys that are kept, to open more values of the same ephemeral keys."""


class PrivateKey(NamedTuple):
    """A key of PRIVATE_KEYS. `is_retired`: it opens for `attempts rotate-keys` alone."""

    key: X25519PrivateKey
    is_retired: bool


class Pair:
    """A recipient and a shared secret: a value that is sealed for both opens only with both.

    `private`: the recipient's private key, where there is one. `header`: the first bytes of values
    that are sealed for this pair.
    """

    def __init__(self, public: X25519PublicKey, private: PrivateKey | None, key: Key) -> None:
        self.public = public
        self.private = private and private.key
        self.is_retired = key.is_retired or (private is not None and private.is_retired)
        self.shared = Shared(key.shared_secret(), key.id)
        named = b"async_attempts.encryption 16: id" + public.public_bytes_raw()
        self.id = hmac.digest(self.shared.psk, named, "sha256")[:KEY_ID_BYTES]
        self.header = SENT + self.id

    def received(self, enc: bytes) -> Export:
        """Return the export function for the ephemeral key `enc`. Raises InvalidTag if none is."""
        if self.private is None:
            raise InvalidTag
        try:
            return receive(enc, self.private, self.shared, INFO)
        except ValueError:
            # A public key of small order, which no sealer has.
            raise InvalidTag from None


class Sending:
    """The sealing keys of one ephemeral key, which isn't kept: this can open nothing else."""

    def __init__(self, pair: Pair) -> None:
        enc, self._export = send(pair.public, pair.shared, INFO)
        self.prefix = pair.header + enc
        self.ends_at = monotonic() + RENEWED_AFTER
        self._seals: dict[tuple[str, str], AESGCMSIV] = {}

    def seals(self, context: Context) -> AESGCMSIV:
        """Return the AEAD for values of this realm and purpose."""
        which = context.realm, context.purpose
        if (seals := self._seals.get(which)) is None:
            seals = self._seals[which] = _exported(self._export, *which)
        return seals


class RecipientCipher:
    """Seals for the holder of a private key: HPKE (RFC 9180), mode PSK, and AES-256-GCM-SIV.

    `recipients`: base64 of X25519 public keys; the first is sealed for, and all are known. `keys`:
    the setting `KEYS`, of every process that may enqueue. The first is mixed into each value, so
    that no other process can seal; a key alone opens none of them. `private_keys`: base64 of the
    private keys, for processes that open; where there are any, `recipients` may be left out. Values
    that AESGCMSIVCipher sealed with `keys` are opened, too.

    A key or a private key that begins with `retired:` opens for `with_retired_keys` alone.

    Safe to use from several threads and after a fork: nonces are random.

    Raises InvalidSetting if something is missing, unusable or repeated, or if none of the private
    keys belongs to the first recipient; UnsupportedAlgorithm as AESGCMSIVCipher does.
    """

    @sensitive_variables()
    def __init__(
        self, keys: Sequence[str], recipients: Sequence[str] = (), private_keys: Sequence[str] = ()
    ) -> None:
        self._symmetric = AESGCMSIVCipher(keys)
        private = private_ring(listed(private_keys, "PRIVATE_KEYS"))
        public = _public_keys(recipients) or {
            raw: one.key.public_key() for raw, one in private.items()
        }
        if not public:
            raise InvalidSetting(f"{SETTING}['RECIPIENTS'] is empty. {REMEDY}")
        first = private.get(next(iter(public)))
        if private and (first is None or first.is_retired):
            raise InvalidSetting(
                f"{SETTING}['PRIVATE_KEYS']: none belongs to the first of RECIPIENTS, so this "
                "process could not read what it seals. Add that one, or move another recipient to "
                "the front."
            )
        public |= {raw: one.key.public_key() for raw, one in private.items() if raw not in public}
        pairs = [
            Pair(key, private.get(raw), shared)
            for shared in self._symmetric.keys
            for raw, key in public.items()
        ]
        self._current = pairs[0]
        self._sending = Sending(self._current)
        # A process that opens nothing misses no private key.
        self._pairs = [pair for pair in pairs if pair.private or not private]
        self._opening = _by_header(pair for pair in self._pairs if not pair.is_retired)
        self._openers = lru_cache(MOST_OPENERS)(_opener)

    @property
    def opens(self) -> bool:
        """True if there is a private key: without one, this process only seals."""
        return bool(self._opening)

    def encrypt(self, plaintext: bytes, context: Context) -> bytes:
        """Return the bytes to store, sealed for the first recipient and bound to `context`."""
        sending = self._present()
        nonce = os.urandom(NONCE_BYTES)
        sealed = sending.seals(context).encrypt(nonce, plaintext, context.associated_data())
        return sending.prefix + nonce + sealed

    def encrypt_many(
        self, plaintexts: Sequence[bytes], context: Context, ids: Sequence[UUID]
    ) -> list[bytes]:
        """Encrypt each as `encrypt` does, in `context` with its own id."""
        sending = self._present()
        return sealed_by(sending.seals(context), sending.prefix, plaintexts, context, ids)

    def decrypt(self, stored: Stored, context: Context) -> bytes:
        """Return the plaintext. Raises UnknownKey (no private key), UnknownFormat, Tampered."""
        stored = bytes(stored)
        if (pair := self._opening.get(stored[:HEADER_BYTES])) is None:
            return self._otherwise(stored, context)
        try:
            return self._opened(stored, pair, context)
        except InvalidTag:
            raise tampered(context) from None

    def is_sealed_with_current_key(self, stored: Stored) -> bool:
        """True if `stored` was sealed for the first recipient with the first of the keys."""
        return bytes(stored[:HEADER_BYTES]) == self._current.header

    @property
    def key_ids(self) -> list[str]:
        """The ids, in hexadecimal: of recipients with a shared key, then of the keys alone."""
        pairs = [pair.id.hex() for pair in self._pairs if self._uses(pair)]
        return pairs + self._symmetric.key_ids

    @property
    def headers(self) -> list[bytes]:
        """The headers of values that it can open."""
        return [*self._opening, *self._symmetric.headers]

    def has_key(self, key_id: str) -> bool:
        """True unless a key with this id, in hexadecimal, is missing here.

        A process without private keys misses none of its recipients'.
        """
        return key_id in self.key_ids

    def state_of(self, key_id: str) -> KeyState:
        """Return the use of the key, or of the recipient and key, with this id in hexadecimal."""
        if key_id == self._current.id.hex():
            return KeyState.FIRST
        for pair in self._pairs:
            if pair.id.hex() == key_id:
                return KeyState.OLD if self._uses(pair) else KeyState.RETIRED
        state = self._symmetric.state_of(key_id)
        return KeyState.OLD if state is KeyState.FIRST else state

    def with_retired_keys(self) -> Self:
        """Return this cipher with its retired keys in use, to seal again what they sealed."""
        opening = copy(self)
        opening._symmetric = self._symmetric.with_retired_keys()
        opening._opening = _by_header(self._pairs)
        return opening

    def _uses(self, pair: Pair) -> bool:
        return not pair.is_retired or pair.header in self._opening

    def _present(self) -> Sending:
        # Two threads may both renew it: each uses its own, and one of them stays.
        if monotonic() >= self._sending.ends_at:
            self._sending = Sending(self._current)
        return self._sending

    def _opened(self, stored: bytes, pair: Pair, context: Context) -> bytes:
        """Return the plaintext as if the header of `stored` were the pair's. Raises InvalidTag."""
        if len(stored) < BODY_START + TAG_BYTES:
            raise InvalidTag
        enc, nonce = stored[HEADER_BYTES:NONCE_START], stored[NONCE_START:BODY_START]
        opener = self._openers(pair, enc, context.realm, context.purpose)
        return opener.decrypt(nonce, stored[BODY_START:], context.associated_data())

    def _otherwise(self, stored: bytes, context: Context) -> bytes:
        """Open a value whose header names none of our pairs, or raise why it can't be opened.

        The header isn't authenticated, so every pair is tried on the rest, as AESGCMSIVCipher does.
        """
        try:
            return self._symmetric.decrypt(stored, context)
        except (UnknownKey, UnknownFormat):
            for pair in self._opening.values():
                try:
                    self._opened(stored, pair, context)
                except InvalidTag:
                    continue
                raise tampered(context) from None
            key_id = key_id_of(stored)
            if stored[:1] == SENT and self.state_of(key_id) is KeyState.RETIRED:
                raise retired(context, key_id) from None
            raise


def new_recipient() -> tuple[str, str]:
    """Return a new private key, for PRIVATE_KEYS, and its public key, for RECIPIENTS; in base64."""
    private = X25519PrivateKey.generate()
    both = private.private_bytes_raw(), private.public_key().public_bytes_raw()
    return base64.b64encode(both[0]).decode(), base64.b64encode(both[1]).decode()


def private_ring(lines: Iterable[Line]) -> dict[bytes, PrivateKey]:
    """Return private keys by the bytes of their public keys, in their order.

    Raises InvalidSetting, which names the place of one that is unusable or repeated.
    """
    found: dict[bytes, PrivateKey] = {}
    for line in lines:
        is_retired = line.text.startswith(RETIRED)
        raw = raw_key(line.text.removeprefix(RETIRED), line.where, REMEDY)
        key = X25519PrivateKey.from_private_bytes(raw)
        public = key.public_key().public_bytes_raw()
        if public in found:
            raise invalid_key(line.where, "repeats an earlier key", REMEDY)
        found[public] = PrivateKey(key, is_retired)
    return found


def _public_keys(texts: Sequence[str]) -> dict[bytes, X25519PublicKey]:
    found: dict[bytes, X25519PublicKey] = {}
    for line in listed(texts, "RECIPIENTS"):
        raw = raw_key(line.text, line.where, REMEDY)
        key = X25519PublicKey.from_public_bytes(raw)
        try:
            X25519PrivateKey.generate().exchange(key)
        except ValueError:
            problem = "is not a public key: whatever is sealed for it opens for everybody"
            raise invalid_key(line.where, problem, REMEDY) from None
        if raw in found:
            raise invalid_key(line.where, "repeats an earlier key", REMEDY)
        found[raw] = key
    return found


def _by_header(pairs: Iterable[Pair]) -> dict[bytes, Pair]:
    return {pair.header: pair for pair in pairs if pair.private}


def _opener(pair: Pair, enc: bytes, realm: str, purpose: str) -> AESGCMSIV:
    return _exported(pair.received(enc), realm, purpose)


def _exported(export: Export, realm: str, purpose: str) -> AESGCMSIV:
    return AESGCMSIV(export(joined((realm, purpose))))

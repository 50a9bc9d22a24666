"""Hybrid public key encryption (RFC 9180) in its mode PSK, as far as it is used here.

KEM: DHKEM(X25519, HKDF-SHA256), 0x0020. KDF: HKDF-SHA256, 0x0001. AEAD: export only, 0xFFFF. The
sender and the recipient derive the same secret, from which each exports the keys of its own
ciphers. The sender needs the recipient's public key and the pre-shared key; the recipient needs the
private key and the pre-shared key.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Final, NamedTuple

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

ENCAPSULATED_BYTES: Final = 32
SECRET_BYTES: Final = 32

_KEM: Final = b"KEM" + (0x0020).to_bytes(2)
_HPKE: Final = b"HPKE" + b"".join(number.to_bytes(2) for number in (0x0020, 0x0001, 0xFFFF))
_MODE_PSK: Final = b"\x01"


class Shared(NamedTuple):
    """The pre-shared key, 32 random bytes or more, and its name."""

    psk: bytes
    psk_id: bytes

    def __repr__(self) -> str:
        return f"<Shared {self.psk_id.hex()}>"


Export = Callable[[bytes], bytes]
"""Derives 32 bytes from a context (RFC 9180, section 5.3)."""


def send(
    recipient: X25519PublicKey,
    shared: Shared,
    info: bytes,
    ephemeral: X25519PrivateKey | None = None,
) -> tuple[bytes, Export]:
    """Return the 32 bytes to send along, and the export function (`SetupPSKS`).

    `ephemeral`: only tests give one. Raises ValueError for a public key of small order, which gives
    the same secret with every private key.
    """
    ephemeral = ephemeral or X25519PrivateKey.generate()
    enc = ephemeral.public_key().public_bytes_raw()
    secret = _shared_secret(ephemeral.exchange(recipient), enc, recipient.public_bytes_raw())
    return enc, _export(secret, shared, info)


def receive(enc: bytes, private: X25519PrivateKey, shared: Shared, info: bytes) -> Export:
    """Return the export function (`SetupPSKR`). Raises ValueError for an `enc` of small order."""
    dh = private.exchange(X25519PublicKey.from_public_bytes(enc))
    secret = _shared_secret(dh, enc, private.public_key().public_bytes_raw())
    return _export(secret, shared, info)


def _shared_secret(dh: bytes, enc: bytes, recipient: bytes) -> bytes:
    """`ExtractAndExpand` of section 4.1."""
    prk = _extract(_KEM, b"", b"eae_prk", dh)
    return _expand(_KEM, prk, b"shared_secret", enc + recipient)


def _export(secret: bytes, shared: Shared, info: bytes) -> Export:
    """`KeySchedule` of section 5.1."""
    psk_id_hash = _extract(_HPKE, b"", b"psk_id_hash", shared.psk_id)
    info_hash = _extract(_HPKE, b"", b"info_hash", info)
    prk = _extract(_HPKE, secret, b"secret", shared.psk)
    exporter = _expand(_HPKE, prk, b"exp", _MODE_PSK + psk_id_hash + info_hash)
    return lambda context: _expand(_HPKE, exporter, b"sec", context)


def _extract(suite: bytes, salt: bytes, label: bytes, given: bytes) -> bytes:
    """`LabeledExtract` of section 4."""
    return hmac.digest(salt, b"HPKE-v1" + suite + label + given, "sha256")


def _expand(suite: bytes, prk: bytes, label: bytes, info: bytes) -> bytes:
    """`LabeledExpand` of section 4, of 32 bytes: the first block of HKDF-Expand (RFC 5869)."""
    labeled = SECRET_BYTES.to_bytes(2) + b"HPKE-v1" + suite + label + info
    return hmac.digest(prk, labeled + b"\x01", "sha256")

"""HPKE is what RFC 9180 says: its own test vector, and both sides come to the same."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from async_attempts.encryption.hpke import Shared, receive, send

# Appendix A.7.2: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, export-only AEAD, mode PSK.
INFO = bytes.fromhex("4f6465206f6e2061204772656369616e2055726e")
EPHEMERAL = "1d72396121a6a826549776ef1a9d2f3a2907fc6a38902fa4e401afdb0392e627"
RECIPIENT = "98f304d4ecb312689690b113973c61ffe0aa7c13f2fbe365e48f3ed09e5a6a0c"
ENC = bytes.fromhex("d3805a97cbcd5f08babd21221d3e6b362a700572d14f9bbeb94ec078d051ae3d")
SHARED = Shared(
    bytes.fromhex("0247fd33b913760fa1fa51e1892d9f307fbe65eb171e8132c2af18555a738b82"),
    bytes.fromhex("456e6e796e20447572696e206172616e204d6f726961"),
)
EXPORTED = {
    "": "be6c76955334376aa23e936be013ba8bbae90ae74ed995c1c6157e6f08dd5316",
    "00": "1721ed2aa852f84d44ad020c2e2be4e2e6375098bf48775a533505fd56a3f416",
    "54657374436f6e74657874": "7c9d79876a288507b81a5a52365a7d39cc0fa3f07e34172984f96fec07c44cba",
}


def private(given: str) -> X25519PrivateKey:
    return X25519PrivateKey.from_private_bytes(bytes.fromhex(given))


@pytest.mark.parametrize("context", EXPORTED)
def test_both_sides_come_to_what_the_rfc_says(context: str) -> None:
    recipient = private(RECIPIENT)
    enc, export = send(recipient.public_key(), SHARED, INFO, private(EPHEMERAL))
    assert enc == ENC
    received = receive(ENC, recipient, SHARED, INFO)
    for one in (export, received):
        assert one(bytes.fromhex(context)).hex() == EXPORTED[context]


def test_each_sending_is_of_a_key_of_its_own() -> None:
    recipient = private(RECIPIENT)
    (one, first), (other, second) = (send(recipient.public_key(), SHARED, INFO) for _ in range(2))
    assert one != other
    assert first(b"") != second(b"")
    assert receive(other, recipient, SHARED, INFO)(b"") == second(b"")


@pytest.mark.parametrize("small", [bytes(32), b"\x01" + bytes(31)], ids=["0", "1"])
def test_a_public_key_of_small_order_is_refused(small: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        send(X25519PublicKey.from_public_bytes(small), SHARED, INFO)
    with pytest.raises(ValueError, match=r".+"):
        receive(small, private(RECIPIENT), SHARED, INFO)


def test_no_secret_shows() -> None:
    assert SHARED.psk.hex() not in repr(SHARED)
    assert repr(SHARED.psk)[2:-1] not in repr(SHARED)

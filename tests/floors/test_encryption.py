"""Sealed values open with the right key in the right place, and nowhere else."""

from __future__ import annotations

import base64
import os
import traceback
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from async_attempts.encryption import AESGCMSIVCipher, Cipher, Context, NullCipher
from async_attempts.exceptions import DecryptionError, Tampered, UnknownFormat, UnknownKey

CANARY = b"canary-4929-1234-5678"
HERE = Context("args", uuid.UUID(int=7), "shop.clients.OrderClient", "42", "fulfill")
ELSEWHERE = {
    "result": HERE._replace(purpose="result"),
    "error": HERE._replace(purpose="error"),
    "attempt": HERE._replace(attempt_id=uuid.UUID(int=8)),
    "target": HERE._replace(target="shop.clients.OrderClients"),
    "target_pk": HERE._replace(target_pk="43"),
    "no target_pk": HERE._replace(target_pk=None),
    "empty target_pk": HERE._replace(target_pk=""),
    "method": HERE._replace(method_name="refund"),
    "schedule": HERE._replace(purpose="schedule"),
    "token": HERE._replace(idempotence_token="4711"),
    "empty token": HERE._replace(idempotence_token=""),
    "realm": HERE._replace(realm="shop-staging"),
    "execution": HERE._replace(execution=1),
    "definition": HERE._replace(definition=("nightly", "* * * * *")),
    "shifted": HERE._replace(target_pk="42f", method_name="ulfill"),
}

contexts = st.builds(
    Context,
    st.sampled_from(["args", "schedule", "result", "error"]),
    st.integers(0, 3).map(lambda number: uuid.UUID(int=number)),
    st.text("ab\0é", max_size=3),
    st.none() | st.text("ab\0é", max_size=3),
    st.text("ab\0é", max_size=3),
    st.none() | st.text("ab\0é", max_size=3),
    st.text("ab\0é", max_size=3),
    st.none() | st.integers(0, 3),
    st.lists(st.text("ab\0é", max_size=3), max_size=3).map(tuple),
)


def new_key() -> str:
    return base64.b64encode(os.urandom(32)).decode()


@pytest.fixture
def cipher() -> AESGCMSIVCipher:
    return AESGCMSIVCipher([new_key(), new_key()])


@settings(deadline=None)
@given(plaintext=st.binary(), context=contexts)
def test_what_is_sealed_opens_in_the_same_context(plaintext: bytes, context: Context) -> None:
    cipher = AESGCMSIVCipher([new_key()])
    assert cipher.decrypt(cipher.encrypt(plaintext, context), context) == plaintext


@settings(deadline=None)
@given(one=contexts, other=contexts)
def test_different_contexts_have_different_associated_data(one: Context, other: Context) -> None:
    assert (one.associated_data() == other.associated_data()) == (one == other)


def test_what_is_stored_stays_readable_by_later_versions() -> None:
    """A value stored once and for all: changing the layout must not go unnoticed."""
    cipher = AESGCMSIVCipher([base64.b64encode(bytes(range(32))).decode()])
    stored = bytes.fromhex(
        "0152127bbb91160cfe5ac82fc4c793d19774e5a1a761f3d32229b43c8871f1fe14666bd579"
    )
    assert cipher.decrypt(stored, HERE) == b"kept"


def test_the_same_value_never_looks_the_same_twice(cipher: Cipher) -> None:
    assert cipher.encrypt(CANARY, HERE) != cipher.encrypt(CANARY, HERE)


def test_a_sealed_value_does_not_contain_the_plaintext(cipher: Cipher) -> None:
    assert CANARY not in cipher.encrypt(CANARY, HERE)


def test_a_memoryview_from_the_driver_opens_like_bytes(cipher: AESGCMSIVCipher) -> None:
    stored = memoryview(cipher.encrypt(CANARY, HERE))
    assert cipher.decrypt(stored, HERE) == CANARY
    assert cipher.is_sealed_with_current_key(stored)
    assert NullCipher().decrypt(memoryview(NullCipher().encrypt(CANARY, HERE)), HERE) == CANARY


def test_threads_share_a_cipher(cipher: Cipher) -> None:
    def round_trip(number: int) -> bool:
        plaintext, context = os.urandom(number), HERE._replace(target_pk=str(number))
        return cipher.decrypt(cipher.encrypt(plaintext, context), context) == plaintext

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(round_trip, range(1000)))


def test_every_flipped_bit_is_tampering(cipher: Cipher) -> None:
    stored = cipher.encrypt(CANARY + b"-and-some-more", HERE)
    for bit in range(len(stored) * 8):
        altered = bytearray(stored)
        altered[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Tampered):
            cipher.decrypt(bytes(altered), HERE)


def test_every_truncation_is_tampering(cipher: Cipher) -> None:
    stored = cipher.encrypt(CANARY, HERE)
    for length in range(len(stored)):
        with pytest.raises(Tampered):
            cipher.decrypt(stored[:length], HERE)


def test_an_appended_byte_is_tampering(cipher: Cipher) -> None:
    with pytest.raises(Tampered):
        cipher.decrypt(cipher.encrypt(CANARY, HERE) + b"\0", HERE)


def test_an_unknown_version_may_be_a_newer_release_s(cipher: Cipher) -> None:
    with pytest.raises(UnknownFormat, match="format 127") as caught:
        cipher.decrypt(b"\x7f" + os.urandom(60), HERE)
    assert caught.value.form == "format 127"


def test_a_changed_version_of_ours_is_tampering(cipher: Cipher) -> None:
    with pytest.raises(Tampered):
        cipher.decrypt(b"\x7f" + cipher.encrypt(CANARY, HERE)[1:], HERE)


@pytest.mark.parametrize("place", ELSEWHERE)
def test_a_value_moved_elsewhere_does_not_open(cipher: Cipher, place: str) -> None:
    with pytest.raises(Tampered):
        cipher.decrypt(cipher.encrypt(CANARY, HERE), ELSEWHERE[place])
    with pytest.raises(Tampered):
        cipher.decrypt(cipher.encrypt(CANARY, ELSEWHERE[place]), HERE)


def test_plain_bytes_are_refused_like_an_unknown_key_once_there_are_keys(cipher: Cipher) -> None:
    with pytest.raises(UnknownKey, match="not encrypted"):
        cipher.decrypt(NullCipher().encrypt(CANARY, HERE), HERE)


@settings(deadline=None)
@given(plaintext=st.binary())
def test_plain_storage_round_trips(plaintext: bytes) -> None:
    assert NullCipher().decrypt(NullCipher().encrypt(plaintext, HERE), HERE) == plaintext


def test_plain_storage_refuses_what_is_not_plain(cipher: Cipher) -> None:
    for stored in (cipher.encrypt(CANARY, HERE), b"", CANARY):
        with pytest.raises(UnknownKey):
            NullCipher().decrypt(stored, HERE)


def test_neither_key_nor_plaintext_shows_in_an_object_or_an_exception() -> None:
    key = new_key()
    cipher = AESGCMSIVCipher([key])
    stored = cipher.encrypt(CANARY, HERE)
    stranger = AESGCMSIVCipher([new_key()])
    shown = [repr(cipher), str(cipher), repr(vars(cipher)), repr(NullCipher()), repr(HERE)]
    for opener, value in (
        (cipher, stored[:-1]),
        (stranger, stored),
        (stranger, NullCipher().encrypt(CANARY, HERE)),
        (NullCipher(), CANARY),
    ):
        with pytest.raises(DecryptionError) as caught:
            opener.decrypt(value, HERE)
        shown += [repr(caught.value), "".join(traceback.format_exception(caught.value))]
    raw = base64.b64decode(key)
    for secret in (key, repr(raw)[2:-1], raw.hex(), CANARY.decode()):
        assert not [text for text in shown if secret in text]


@pytest.mark.parametrize("target_pk", [None, "42"])
def test_the_id_may_be_given_as_its_bytes(cipher: AESGCMSIVCipher, target_pk: str | None) -> None:
    given = HERE._replace(target_pk=target_pk)
    by_bytes = given._replace(attempt_id=uuid.UUID(int=7).bytes)
    assert by_bytes.associated_data() == given.associated_data()
    assert cipher.decrypt(cipher.encrypt(CANARY, given), by_bytes) == CANARY
    with pytest.raises(Tampered, match=str(given.attempt_id)):
        cipher.decrypt(cipher.encrypt(CANARY, HERE), by_bytes._replace(method_name="refund"))

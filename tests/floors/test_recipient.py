"""What is sealed for a recipient opens with its private key and the shared key alone."""

from __future__ import annotations

import base64
import os
import traceback
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from async_attempts.encryption import (
    AESGCMSIVCipher,
    Cipher,
    Context,
    KeyedCipher,
    KeyState,
    NullCipher,
    RecipientCipher,
    encrypt_many,
    is_ours,
    key_id_of,
    new_recipient,
)
from async_attempts.encryption import recipient as recipients
from async_attempts.encryption.hpke import Shared, send
from async_attempts.encryption.recipient import BODY_START, INFO, NONCE_START
from async_attempts.exceptions import (
    InvalidSetting,
    RetiredKey,
    Tampered,
    UnknownFormat,
    UnknownKey,
)
from tests.floors.test_encryption import CANARY, ELSEWHERE, HERE, contexts, new_key

KEY = new_key()
PRIVATE, PUBLIC = new_recipient()
SMALL = "4Ot6fDtBuK4WVuP68Z/EatoJjeucMrH9hmIFFl9JuAA="
"""A point of order 8, from RFC 7748's list of small ones."""

WEB = RecipientCipher([KEY], [PUBLIC])
WORKER = RecipientCipher([KEY], [PUBLIC], [PRIVATE])


@settings(deadline=None)
@given(plaintext=st.binary(), context=contexts)
def test_a_worker_opens_what_a_process_without_private_key_has_sealed(
    plaintext: bytes, context: Context
) -> None:
    assert WORKER.decrypt(WEB.encrypt(plaintext, context), context) == plaintext


def test_what_is_stored_stays_readable_by_later_versions() -> None:
    """A value stored once and for all: changing the layout must not go unnoticed."""
    private = base64.b64encode(bytes(range(32))).decode()
    cipher = RecipientCipher([base64.b64encode(bytes(range(32, 64))).decode()], [], [private])
    stored = bytes.fromhex(
        "10c94010dc825812e49f04cf4c56438c9db7699d4110657097a8528608182412532be0434a"
        "31decb4c64edba01a34d5b879c1c4ab4075cbdb604d27f81b94bef4a13567962"
    )
    assert cipher.decrypt(stored, HERE) == b"kept"
    assert (stored[0], len(stored)) == (0x10, BODY_START + len(b"kept") + 16)


def test_a_sealer_without_private_key_reads_nothing_of_its_own() -> None:
    stored = WEB.encrypt(CANARY, HERE)
    with pytest.raises(
        UnknownKey, match=r"no private key for it in ASYNC_ATTEMPTS\['PRIVATE_KEY"
    ) as e:
        WEB.decrypt(stored, HERE)
    assert e.value.key_id == stored[1:5].hex() == key_id_of(stored)
    assert CANARY not in stored


def test_the_private_key_alone_opens_nothing() -> None:
    """Who has taken it from a worker's backup, and not the shared key."""
    stored = WEB.encrypt(CANARY, HERE)
    thief = RecipientCipher([new_key()], [PUBLIC], [PRIVATE])
    with pytest.raises(UnknownKey):
        thief.decrypt(stored, HERE)
    with pytest.raises(Tampered):
        thief.decrypt(next(iter(thief._opening)) + stored[5:], HERE)


def test_another_recipient_opens_nothing() -> None:
    private, public = new_recipient()
    other = RecipientCipher([KEY], [public], [private])
    stored = WEB.encrypt(CANARY, HERE)
    with pytest.raises(UnknownKey):
        other.decrypt(stored, HERE)
    with pytest.raises(Tampered):
        other.decrypt(next(iter(other._opening)) + stored[5:], HERE)


@pytest.mark.parametrize("secret", [bytes(32), new_key().encode()], ids=["none", "made up"])
def test_the_public_key_alone_forges_nothing(secret: bytes) -> None:
    """Whoever may write rows and has read the public key, which is no secret."""
    public = X25519PublicKey.from_public_bytes(base64.b64decode(PUBLIC))
    genuine = WEB.encrypt(b"", HERE)
    named = WORKER._current.shared.psk_id
    enc, export = send(public, Shared(secret, named), INFO)
    forged = genuine[:5] + enc + genuine[NONCE_START:BODY_START]
    forged += recipients._exported(export, HERE.realm, "args").encrypt(
        genuine[NONCE_START:BODY_START], CANARY, HERE.associated_data()
    )
    with pytest.raises(Tampered):
        WORKER.decrypt(forged, HERE)
    stranger = RecipientCipher([new_key()], [PUBLIC])
    with pytest.raises(UnknownKey):
        WORKER.decrypt(stranger.encrypt(CANARY, HERE), HERE)


@pytest.mark.parametrize("small", [bytes(32), b"\x01" + bytes(31)], ids=["0", "1"])
def test_an_ephemeral_key_of_small_order_is_tampering(small: bytes) -> None:
    stored = WEB.encrypt(CANARY, HERE)
    with pytest.raises(Tampered):
        WORKER.decrypt(stored[:5] + small + stored[NONCE_START:], HERE)


def test_every_flipped_bit_is_tampering() -> None:
    stored = WEB.encrypt(CANARY, HERE)
    for bit in range(len(stored) * 8):
        altered = bytearray(stored)
        altered[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Tampered):
            WORKER.decrypt(bytes(altered), HERE)


def test_every_truncation_and_every_addition_is_tampering() -> None:
    stored = WEB.encrypt(CANARY, HERE)
    for length in range(len(stored)):
        with pytest.raises(Tampered):
            WORKER.decrypt(stored[:length], HERE)
    with pytest.raises(Tampered):
        WORKER.decrypt(stored + b"\0", HERE)


@pytest.mark.parametrize("place", ELSEWHERE)
def test_a_value_moved_elsewhere_does_not_open(place: str) -> None:
    with pytest.raises(Tampered):
        WORKER.decrypt(WEB.encrypt(CANARY, HERE), ELSEWHERE[place])
    with pytest.raises(Tampered):
        WORKER.decrypt(WEB.encrypt(CANARY, ELSEWHERE[place]), HERE)


def test_plain_bytes_and_newer_formats_are_told_apart() -> None:
    for by in (WEB, WORKER):
        with pytest.raises(UnknownKey, match="not encrypted"):
            by.decrypt(NullCipher().encrypt(CANARY, HERE), HERE)
        with pytest.raises(UnknownFormat, match="format 127"):
            by.decrypt(b"\x7f" + os.urandom(90), HERE)


def test_many_are_sealed_as_one_is() -> None:
    ids = [uuid.UUID(int=number) for number in range(5)]
    plaintexts = [str(number).encode() for number in range(5)]
    sealed = encrypt_many(WEB, plaintexts, HERE, ids)
    opened = [
        WORKER.decrypt(one, HERE._replace(attempt_id=attempt_id))
        for one, attempt_id in zip(sealed, ids, strict=True)
    ]
    assert opened == plaintexts
    assert len({one[NONCE_START:BODY_START] for one in sealed}) == len(ids)
    with pytest.raises(Tampered):
        WORKER.decrypt(sealed[0], HERE._replace(attempt_id=ids[1]))


def test_an_ephemeral_key_is_used_for_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    moment = [1000.0]
    monkeypatch.setattr(recipients, "monotonic", lambda: moment[0])
    web = RecipientCipher([KEY], [PUBLIC])

    def ephemeral() -> bytes:
        stored = web.encrypt(CANARY, HERE)
        assert WORKER.decrypt(stored, HERE) == CANARY
        return stored[5:NONCE_START]

    first = ephemeral()
    moment[0] += 59.0
    assert ephemeral() == first
    moment[0] += 1.0
    assert ephemeral() != first


def test_a_forked_child_repeats_no_nonce() -> None:
    """It inherits the ephemeral key, as it inherits KEYS; nonces are the system's own."""
    reader, writer = os.pipe()
    WEB.encrypt(CANARY, HERE)
    if (pid := os.fork()) == 0:
        os.write(writer, WEB.encrypt(CANARY, HERE))
        os._exit(0)
    os.waitpid(pid, 0)
    there, here = os.read(reader, 1000), WEB.encrypt(CANARY, HERE)
    assert there[NONCE_START:BODY_START] != here[NONCE_START:BODY_START]
    assert WORKER.decrypt(there, HERE) == WORKER.decrypt(here, HERE) == CANARY


def test_threads_share_a_cipher(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipients, "RENEWED_AFTER", 0.0)

    def round_trip(number: int) -> bool:
        plaintext, context = os.urandom(number), HERE._replace(target_pk=str(number))
        return WORKER.decrypt(WORKER.encrypt(plaintext, context), context) == plaintext

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(round_trip, range(500)))


def test_what_symmetric_keys_have_sealed_opens_and_the_other_way_round_waits() -> None:
    before = AESGCMSIVCipher([KEY])
    stored = before.encrypt(CANARY, HERE)
    assert WORKER.decrypt(stored, HERE) == CANARY
    assert not WORKER.is_sealed_with_current_key(stored)
    with pytest.raises(UnknownKey) as caught:
        before.decrypt(WEB.encrypt(CANARY, HERE), HERE)
    assert caught.value.key_id == WEB._current.id.hex()


def test_rotation_of_recipients_step_by_step() -> None:
    private, public = new_recipient()
    added = RecipientCipher([KEY], [PUBLIC], [PRIVATE, private])
    moved = RecipientCipher([KEY], [public, PUBLIC])
    removed = RecipientCipher([KEY], [public], [private])
    by_old, by_new = WEB.encrypt(CANARY, HERE), moved.encrypt(CANARY, HERE)
    assert added.decrypt(by_old, HERE) == added.decrypt(by_new, HERE) == CANARY
    assert moved.is_sealed_with_current_key(by_new)
    assert not moved.is_sealed_with_current_key(by_old)
    assert removed.decrypt(by_new, HERE) == CANARY
    with pytest.raises(UnknownKey):
        removed.decrypt(by_old, HERE)


def test_rotation_of_the_shared_key_step_by_step() -> None:
    new = new_key()
    added = RecipientCipher([KEY, new], [PUBLIC], [PRIVATE])
    moved = RecipientCipher([new, KEY], [PUBLIC])
    by_old, by_new = WEB.encrypt(CANARY, HERE), moved.encrypt(CANARY, HERE)
    assert added.decrypt(by_old, HERE) == added.decrypt(by_new, HERE) == CANARY
    assert not moved.is_sealed_with_current_key(by_old)
    with pytest.raises(UnknownKey):
        RecipientCipher([new], [], [PRIVATE]).decrypt(by_old, HERE)


def test_a_process_that_only_seals_misses_no_key_of_its_recipients() -> None:
    known = key_id_of(WEB.encrypt(CANARY, HERE))
    assert WEB.has_key(known)
    assert WORKER.has_key(known)
    private, public = new_recipient()
    without = RecipientCipher([KEY], [public, PUBLIC], [private])
    assert not without.has_key(known)
    for by in (WEB, WORKER):
        assert by.has_key(key_id_of(AESGCMSIVCipher([KEY]).encrypt(CANARY, HERE)))
        assert not by.has_key("00000000")
    assert (WEB.opens, WORKER.opens) == (False, True)


def test_it_is_a_cipher_of_ours_with_keys() -> None:
    ours: list[Cipher] = [WEB, AESGCMSIVCipher([KEY]), NullCipher()]
    assert all(map(is_ours, ours))
    assert [isinstance(one, KeyedCipher) for one in ours] == [True, True, False]


def test_recipients_may_be_left_out_where_there_are_private_keys() -> None:
    assert RecipientCipher([KEY], [], [PRIVATE]).is_sealed_with_current_key(WEB.encrypt(b"", HERE))


@pytest.mark.parametrize(
    ("keys", "public", "private", "problem"),
    [
        ([], [PUBLIC], [], r"\['KEYS'\] is empty"),
        ([KEY], [], [], r"\['RECIPIENTS'\] is empty. Make a private and a public"),
        ([KEY], ["c2hvcnQ="], [], r"\['RECIPIENTS'\]\[0\] has 5 bytes, a key has 32"),
        ([KEY], [PUBLIC, "-"], [], r"\['RECIPIENTS'\]\[1\] is not base64"),
        ([KEY], [PUBLIC, PUBLIC], [], r"\['RECIPIENTS'\]\[1\] repeats"),
        ([KEY], [SMALL], [], r"\[0\] is not a public key: whatever"),
        ([KEY], [], [f"retired:{PRIVATE}"], "none belongs to the first of RECIPIENTS"),
        ([f"retired:{KEY}"], [PUBLIC], [], "is retired, and the first key encrypts"),
        ([KEY], [PUBLIC], [new_recipient()[0]], "none belongs to the first of RECIPIENTS"),
        ([KEY], [PRIVATE], [PRIVATE], "none belongs to the first of RECIPIENTS"),
        ([KEY], [], [PRIVATE, PRIVATE], r"\['PRIVATE_KEYS'\]\[1\] repeats"),
        ([KEY], [PUBLIC], ["c2hvcnQ="], r"\['PRIVATE_KEYS'\]\[0\] has 5 bytes"),
    ],
)
def test_what_is_wrong_with_the_keys_is_said(
    keys: list[str], public: list[str], private: list[str], problem: str
) -> None:
    with pytest.raises(InvalidSetting, match=problem) as caught:
        RecipientCipher(keys, public, private)
    shown = "".join(traceback.format_exception(caught.value))
    assert not [secret for secret in (KEY, PRIVATE) if secret in shown]


def test_neither_keys_nor_plaintext_show() -> None:
    stored = WORKER.encrypt(CANARY, HERE)
    assert WORKER.decrypt(stored, HERE) == CANARY
    shown = [repr(WORKER), repr(vars(WORKER)), repr(vars(WORKER._sending))]
    shown += [repr(vars(WORKER._current)), repr(vars(WORKER._symmetric))]
    with pytest.raises(Tampered) as caught:
        WORKER.decrypt(stored[:-1], HERE)
    shown += ["".join(traceback.format_exception(caught.value))]
    raw = base64.b64decode(PRIVATE)
    psk = WORKER._current.shared.psk
    secrets = (KEY, PRIVATE, repr(raw)[2:-1], raw.hex(), repr(psk)[2:-1], CANARY.decode())
    for secret in secrets:
        assert not [text for text in shown if secret in text]


def test_a_pair_of_keys_belongs_together() -> None:
    private, public = new_recipient()
    one = X25519PrivateKey.from_private_bytes(base64.b64decode(private))
    assert one.public_key().public_bytes_raw() == base64.b64decode(public)
    assert new_recipient() != new_recipient()


@pytest.mark.parametrize("which", ["shared key", "private key"])
def test_what_is_retired_opens_for_rotation_alone(which: str) -> None:
    new, (private, public) = new_key(), new_recipient()
    if which == "shared key":
        cipher = RecipientCipher([new, f"retired:{KEY}"], [PUBLIC], [PRIVATE])
    else:
        cipher = RecipientCipher([KEY], [public], [private, f"retired:{PRIVATE}"])
    stored = WEB.encrypt(CANARY, HERE)
    key_id = key_id_of(stored)
    with pytest.raises(RetiredKey, match=f"the key {key_id}, which is retired") as caught:
        cipher.decrypt(stored, HERE)
    assert caught.value.key_id == key_id
    assert (cipher.state_of(key_id), cipher.has_key(key_id)) == (KeyState.RETIRED, False)
    rotating = cipher.with_retired_keys()
    assert rotating.decrypt(stored, HERE) == CANARY
    assert not rotating.is_sealed_with_current_key(stored)
    assert cipher.decrypt(rotating.encrypt(CANARY, HERE), HERE) == CANARY
    with pytest.raises(RetiredKey):
        cipher.decrypt(stored, HERE)


def test_the_state_of_each_key_is_told_by_its_id() -> None:
    old, gone = new_key(), new_key()
    cipher = RecipientCipher([KEY, old, f"retired:{gone}"], [PUBLIC], [PRIVATE])
    sealed = [RecipientCipher([key], [PUBLIC]).encrypt(b"", HERE) for key in (KEY, old, gone)]
    sealed += [AESGCMSIVCipher([key]).encrypt(b"", HERE) for key in (KEY, old, gone, new_key())]
    states = [cipher.state_of(key_id_of(one)) for one in sealed]
    assert states == ["first", "old", "retired", "old", "old", "retired", "unknown"]
    ids = [key_id_of(one) for one in sealed]
    assert cipher.key_ids == [ids[0], ids[1], ids[3], ids[4]]
    assert cipher.with_retired_keys().key_ids == ids[:6]

"""Keys: which are accepted, how they rotate, and which cipher the settings choose."""

from __future__ import annotations

import base64
import os
import secrets
import uuid

import pytest
from django.test import override_settings
from django.views.debug import ExceptionReporter

from async_attempts.encryption import (
    AESGCMSIVCipher,
    Context,
    NullCipher,
    Stored,
    cipher,
    configuration_problem,
    uses_derived_key,
)
from async_attempts.exceptions import InvalidSetting, RetiredKey, Tampered, UnknownKey

HERE = Context("args", uuid.UUID(int=7), "shop.clients.OrderClient", None, "fulfill")
REMEDY = "manage.py attempts make-key"


class ShoutingCipher:
    """A project's own, in no way secret."""

    def encrypt(self, plaintext: bytes, context: Context) -> bytes:
        return plaintext.upper() + context.purpose.encode()

    def decrypt(self, stored: Stored, context: Context) -> bytes:
        return bytes(stored).removesuffix(context.purpose.encode()).lower()


class ProjectCipher(AESGCMSIVCipher):
    """A project's own, with the package's keys."""


def not_a_class() -> None:
    """What `CIPHER` can't name."""


def key(raw: bytes | None = None) -> str:
    return base64.b64encode(os.urandom(32) if raw is None else raw).decode()


@pytest.mark.parametrize(
    "text",
    [
        base64.b64encode(b"\xfb\xff" + bytes(range(225, 255))).decode(),
        base64.urlsafe_b64encode(b"\xfb\xff" + bytes(range(225, 255))).decode(),
        base64.urlsafe_b64encode(b"\xfb\xff" + bytes(range(225, 255))).decode().rstrip("="),
    ],
    ids=["standard", "urlsafe", "unpadded"],
)
def test_a_key_is_the_same_in_every_spelling_of_base64(text: str) -> None:
    sealed = AESGCMSIVCipher([key(b"\xfb\xff" + bytes(range(225, 255)))]).encrypt(b"value", HERE)
    assert AESGCMSIVCipher([text]).decrypt(sealed, HERE) == b"value"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (key(os.urandom(31)), "has 31 bytes, a key has 32"),
        (key(os.urandom(33)), "has 33 bytes, a key has 32"),
        (key(os.urandom(16)), "has 16 bytes, a key has 32"),
        ("", "has 0 bytes, a key has 32"),
        ("correct horse battery staple", "is not base64"),
        ("clé" * 11, "is not base64"),
        (key() + "\n", "is not base64"),
        (f"retired:{key(bytes(31))}", "has 31 bytes, a key has 32"),
        ("retired:", "has 0 bytes, a key has 32"),
        (f"Retired:{key()}", "is not base64"),
    ],
    ids=[
        *("31", "33", "16", "empty", "words", "not ASCII", "line end"),
        *("retired 31", "retired", "Retired"),
    ],
)
def test_an_unusable_key_is_named_by_its_place_and_not_shown(text: str, problem: str) -> None:
    with pytest.raises(InvalidSetting) as caught:
        AESGCMSIVCipher([key(), text])
    message = str(caught.value)
    assert message.startswith(f"ASYNC_ATTEMPTS['KEYS'][1] {problem}. Make a key with: manage.py")
    assert REMEDY in message
    assert not text or text not in message


def test_a_repeated_key_is_refused_also_when_spelled_otherwise() -> None:
    raw = b"\xfb\xff" + bytes(range(225, 255))
    with pytest.raises(InvalidSetting, match=r"ASYNC_ATTEMPTS\['KEYS'\]\[2\] repeats") as caught:
        AESGCMSIVCipher([key(raw), key(), base64.urlsafe_b64encode(raw).decode()])
    assert key(raw) not in str(caught.value)


def test_tokens_of_the_secrets_module_are_keys() -> None:
    assert AESGCMSIVCipher([secrets.token_urlsafe(32)]).encrypt(b"value", HERE)


def test_rotation_step_by_step() -> None:
    old, new = key(), key()
    before, added = AESGCMSIVCipher([old]), AESGCMSIVCipher([old, new])
    moved, removed = AESGCMSIVCipher([new, old]), AESGCMSIVCipher([new])
    by_old, by_new = before.encrypt(b"value", HERE), moved.encrypt(b"value", HERE)

    for holder in (added, moved):
        assert holder.decrypt(by_old, HERE) == holder.decrypt(by_new, HERE) == b"value"
    assert added.is_sealed_with_current_key(by_old)
    assert not added.is_sealed_with_current_key(by_new)
    assert moved.is_sealed_with_current_key(by_new)
    assert not moved.is_sealed_with_current_key(by_old)
    assert not moved.is_sealed_with_current_key(NullCipher().encrypt(b"value", HERE))
    assert not moved.is_sealed_with_current_key(b"")

    assert removed.decrypt(by_new, HERE) == b"value"
    with pytest.raises(UnknownKey, match=f"the key {by_old[1:5].hex()}, which is not in"):
        removed.decrypt(by_old, HERE)


def test_a_key_of_16_different_bytes_is_taken() -> None:
    AESGCMSIVCipher([key(bytes(range(16)) * 2)])


def test_a_retired_key_opens_for_a_rotation_alone() -> None:
    old, new = key(), key()
    by_old = AESGCMSIVCipher([old]).encrypt(b"value", HERE)
    key_id = by_old[1:5].hex()
    retired = AESGCMSIVCipher([new, f"retired:{old}"])
    with pytest.raises(RetiredKey, match=f"the key {key_id}, which is retired") as caught:
        retired.decrypt(by_old, HERE)
    assert caught.value.key_id == key_id
    by_new = retired.encrypt(b"value", HERE)
    assert retired.is_sealed_with_current_key(by_new)
    for opening in (retired.with_retired_keys(), AESGCMSIVCipher([new, old])):
        assert opening.decrypt(by_old, HERE) == opening.decrypt(by_new, HERE) == b"value"
    # Others have changed nothing of it.
    with pytest.raises(RetiredKey):
        retired.decrypt(by_old, HERE)
    with pytest.raises(Tampered):
        retired.decrypt(by_old[:1] + by_new[1:5] + by_old[5:], HERE)


def test_the_state_of_each_key_is_told_by_its_id() -> None:
    first, old, gone, other = (key() for _ in range(4))
    ids = [
        AESGCMSIVCipher([one]).encrypt(b"", HERE)[1:5].hex() for one in (first, old, gone, other)
    ]
    cipher = AESGCMSIVCipher([first, old, f"retired:{gone}"])
    states = [cipher.state_of(key_id) for key_id in ids]
    assert states == ["first", "old", "retired", "unknown"]
    assert [cipher.has_key(key_id) for key_id in ids] == [True, True, False, False]
    assert cipher.state_of("none") == "unknown"


def test_the_first_key_is_not_a_retired_one() -> None:
    old = key()
    for keys in ([f"retired:{old}"], [f"retired:{old}", key()]):
        with pytest.raises(InvalidSetting, match=r"\['KEYS'\]\[0\] is retired") as caught:
            AESGCMSIVCipher(keys)
        assert old not in str(caught.value)


def test_a_key_that_is_retired_beside_itself_is_refused() -> None:
    old = key()
    with pytest.raises(InvalidSetting, match=r"\['KEYS'\]\[1\] repeats"):
        AESGCMSIVCipher([old, f"retired:{old}"])


def test_the_settings_keys_are_used_and_followed() -> None:
    one, other = key(), key()
    with override_settings(ASYNC_ATTEMPTS={"KEYS": [one]}):
        assert cipher() is cipher()
        sealed = cipher().encrypt(b"value", HERE)
        with override_settings(ASYNC_ATTEMPTS={"KEYS": [other]}), pytest.raises(UnknownKey):
            cipher().decrypt(sealed, HERE)
        assert cipher().decrypt(sealed, HERE) == b"value"
        assert configuration_problem() is None
        assert not uses_derived_key()
    assert AESGCMSIVCipher([one]).decrypt(sealed, HERE) == b"value"


@override_settings(ASYNC_ATTEMPTS={}, DEBUG=True, SECRET_KEY="development")
def test_without_keys_debug_derives_one_from_the_secret_key() -> None:
    sealed = cipher().encrypt(b"value", HERE)
    assert configuration_problem() is None
    assert uses_derived_key()
    with override_settings(SECRET_KEY="another"), pytest.raises(UnknownKey):
        cipher().decrypt(sealed, HERE)
    with override_settings(SECRET_KEY=b"development"):
        assert cipher().decrypt(sealed, HERE) == b"value"


@override_settings(ASYNC_ATTEMPTS={}, DEBUG=True, SECRET_KEY="abcdefghijklmnopqrstuvwxyz012345")
def test_the_secret_key_itself_is_never_the_key() -> None:
    with pytest.raises(UnknownKey):
        AESGCMSIVCipher([key(b"abcdefghijklmnopqrstuvwxyz012345")]).decrypt(
            cipher().encrypt(b"value", HERE), HERE
        )


@override_settings(ASYNC_ATTEMPTS={}, DEBUG=False)
def test_without_keys_and_without_debug_nothing_is_sealed() -> None:
    with pytest.raises(InvalidSetting, match=r"\['KEYS'\] is empty") as caught:
        cipher()
    assert REMEDY in str(caught.value)
    assert configuration_problem() == str(caught.value)
    assert not uses_derived_key()
    with override_settings(DEBUG=True):
        assert configuration_problem() is None


@override_settings(ASYNC_ATTEMPTS={"KEYS": []}, DEBUG=True, SECRET_KEY="")
def test_an_empty_secret_key_is_a_problem_and_not_a_key() -> None:
    assert "SECRET_KEY" in (configuration_problem() or "")


@override_settings(ASYNC_ATTEMPTS={"KEYS": [key(b"short")]}, DEBUG=True)
def test_a_bad_key_is_a_problem_also_with_debug() -> None:
    assert "ASYNC_ATTEMPTS['KEYS'][0] has 5 bytes" in (configuration_problem() or "")


@override_settings(DEBUG=False)
def test_plain_storage_needs_no_keys() -> None:
    with override_settings(ASYNC_ATTEMPTS={"CIPHER": "async_attempts.encryption.NullCipher"}):
        assert isinstance(cipher(), NullCipher)
        assert configuration_problem() is None
    with override_settings(
        ASYNC_ATTEMPTS={"CIPHER": "async_attempts.encryption.NullCipher"}, DEBUG=True
    ):
        assert not uses_derived_key()


def test_a_project_names_its_own_cipher() -> None:
    with override_settings(ASYNC_ATTEMPTS={"CIPHER": f"{__name__}.ShoutingCipher"}):
        assert cipher().encrypt(b"value", HERE) == b"VALUEargs"
        assert cipher().decrypt(b"VALUEargs", HERE) == b"value"


def test_a_subclass_of_the_packages_cipher_is_given_the_keys() -> None:
    only = key()
    with override_settings(ASYNC_ATTEMPTS={"CIPHER": f"{__name__}.ProjectCipher", "KEYS": [only]}):
        assert isinstance(cipher(), ProjectCipher)
        sealed = cipher().encrypt(b"value", HERE)
    assert AESGCMSIVCipher([only]).decrypt(sealed, HERE) == b"value"


@pytest.mark.parametrize("name", ["NoSuchCipher", "not_a_class", "uuid"])
def test_a_cipher_that_is_none_is_a_problem_that_names_it(name: str) -> None:
    with override_settings(ASYNC_ATTEMPTS={"CIPHER": f"{__name__}.{name}", "KEYS": [key()]}):
        assert "ASYNC_ATTEMPTS['CIPHER']" in (configuration_problem() or "")
        assert name in (configuration_problem() or "")


@pytest.mark.parametrize("bad", [key(b"short-canary"), "canary not base64"])
def test_a_report_of_a_bad_key_shows_no_key(bad: str) -> None:
    good = key()
    with override_settings(ASYNC_ATTEMPTS={"KEYS": [good, bad]}, DEBUG=False):
        try:
            cipher()
        except InvalidSetting as error:
            frames_below_this = error.__traceback__ and error.__traceback__.tb_next
            reporter = ExceptionReporter(None, type(error), error, frames_below_this)
            report = reporter.get_traceback_html() + reporter.get_traceback_text()
        else:
            pytest.fail("a bad key was accepted")
    raw = base64.b64decode(good)
    for secret in (good, repr(raw)[2:-1], bad):
        assert secret not in report

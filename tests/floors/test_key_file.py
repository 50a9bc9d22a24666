"""The setting KEYS_FILE: keys in a file, one a line."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

import pytest
from django.test import override_settings
from django.views.debug import ExceptionReporter

from async_attempts.conf import settings
from async_attempts.encryption import (
    AESGCMSIVCipher,
    Context,
    cipher,
    configuration_problem,
    uses_derived_key,
)
from async_attempts.exceptions import InvalidSetting

HERE = Context("args", bytes(16), "shop.clients.OrderClient", None, "fulfill")


def key() -> str:
    return base64.b64encode(os.urandom(32)).decode()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys"


def reading(path: Any, **given: Any) -> override_settings:
    return override_settings(ASYNC_ATTEMPTS={"KEYS_FILE": path, **given}, DEBUG=False)


def test_each_line_is_a_key_and_the_first_encrypts(path: Path) -> None:
    new, old = key(), key()
    path.write_text(f"# the shop's keys\n\n  {new}\r\n\t# until June\n{old}", encoding="utf-8-sig")
    by_old = AESGCMSIVCipher([old]).encrypt(b"value", HERE)
    for given in (str(path), path):
        with reading(given):
            assert str(path) == settings().KEYS_FILE
            assert configuration_problem() is None
            assert cipher().decrypt(by_old, HERE) == b"value"
            by_new = cipher().encrypt(b"value", HERE)
    assert AESGCMSIVCipher([new]).decrypt(by_new, HERE) == b"value"


def test_it_is_read_once_and_follows_the_settings(path: Path) -> None:
    path.write_text(key())
    with reading(path):
        sealed = cipher().encrypt(b"value", HERE)
        path.write_text(key())
        assert cipher().decrypt(sealed, HERE) == b"value"
    with reading(path):
        assert cipher().decrypt(cipher().encrypt(b"value", HERE), HERE) == b"value"
        with pytest.raises(Exception, match="sealed with the key"):
            cipher().decrypt(sealed, HERE)


def test_with_debug_no_key_is_made_of_the_secret_key_beside_it(path: Path) -> None:
    path.write_text(key())
    with reading(path), override_settings(DEBUG=True):
        assert not uses_derived_key()


def test_keys_in_the_settings_beside_it_are_refused(path: Path) -> None:
    path.write_text(key())
    with reading(path, KEYS=[key()]), pytest.raises(InvalidSetting, match="both given") as caught:
        settings()
    assert "'KEYS'" in str(caught.value)
    assert "'KEYS_FILE'" in str(caught.value)
    with reading(path, KEYS=[]):
        assert configuration_problem() is None


@pytest.mark.parametrize("given", ["", 1, [], b"keys"])
def test_it_names_a_file(given: Any) -> None:
    with reading(given), pytest.raises(InvalidSetting, match=r"\['KEYS_FILE'\] must be the path"):
        settings()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{good}\n# a comment\n{short}", "line 3"),
        ("\n{good}\nnot base64 at all", "line 3"),
        ("{good}\n\n{good}", "line 3"),
        ("{good}\n\ufffd{good}", "line 2"),
    ],
    ids=["length", "letters", "repeated", "bytes"],
)
def test_a_line_that_is_wrong_is_named_by_its_number_and_not_shown(
    path: Path, content: str, problem: str
) -> None:
    good, short = key(), base64.b64encode(os.urandom(20)).decode()
    weak = base64.b64encode(b"canary" * 5 + b"!!").decode()
    path.write_text(content.format(good=good, short=short, weak=weak))
    with reading(path):
        found = configuration_problem() or ""
        try:
            cipher()
        except InvalidSetting as error:
            below = error.__traceback__ and error.__traceback__.tb_next
            reporter = ExceptionReporter(None, type(error), error, below)
            report = reporter.get_traceback_html() + reporter.get_traceback_text()
    assert f"{problem} of" in found
    assert str(path) in found
    for secret in (good, short, weak, "not base64 at"):
        assert secret not in found
        assert secret not in report


@pytest.mark.parametrize("content", ["", "\n\n# nothing yet\n"])
def test_a_file_without_a_key_is_a_problem(path: Path, content: str) -> None:
    path.write_text(content)
    with reading(path):
        assert "holds no key" in (configuration_problem() or "")


def test_a_file_that_is_not_there_is_a_problem(path: Path) -> None:
    with reading(path):
        found = configuration_problem() or ""
        assert "No such file or directory" in found
        assert str(path) in found
        assert not uses_derived_key()

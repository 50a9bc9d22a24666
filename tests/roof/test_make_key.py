"""`manage.py attempts make-key` works before there is a key, and where settings are wrong."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command

from async_attempts.encryption import AESGCMSIVCipher, Context, RecipientCipher
from async_attempts.exceptions import InvalidSetting


def test_each_time_it_prints_another_key():
    made = []
    for _ in range(20):
        out = StringIO()
        call_command("attempts", "make-key", stdout=out)
        made.append(out.getvalue().removesuffix("\n"))
    assert len({*made}) == 20
    AESGCMSIVCipher(made)


@pytest.mark.parametrize(
    "given", ["{'KEYS': []}", "{'KEYS': ['short']}", "{'KEYS_FILE': '/no/such/file'}", "{'ZZZ': 1}"]
)
def test_the_command_in_the_message_needs_no_settings_that_are_right(
    tmp_path: Path, given: str
) -> None:
    (tmp_path / "unset.py").write_text(
        "from tests.settings import *\n"
        f"ASYNC_ATTEMPTS = {given}\n"
        "DATABASES = {'default': {'ENGINE': 'django.db.backends.sqlite3', 'NAME': 'none'}}\n"
    )
    with pytest.raises(InvalidSetting) as caught:
        AESGCMSIVCipher([])
    arguments = str(caught.value).partition("manage.py ")[2].split()
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "unset", "PYTHONPATH": path}
    command = [sys.executable, "-m", "django"]
    checked = subprocess.run(
        [*command, "check"], env=environment, capture_output=True, text=True, check=False
    )
    assert checked.returncode == 1
    made = subprocess.run(
        [*command, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stderr
    AESGCMSIVCipher([made.stdout.strip()])


def test_both_halves_of_a_recipient_are_printed_by_the_names_of_their_settings():
    out = StringIO()
    call_command("attempts", "make-key", recipient=True, stdout=out)
    made = dict(line.split(": ") for line in out.getvalue().splitlines())
    assert made.keys() == {"PRIVATE_KEYS", "RECIPIENTS"}
    key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
    here = Context("args", uuid.UUID(int=7), "shop.clients.OrderClient", None, "fulfill")
    sealed = RecipientCipher([key], [made["RECIPIENTS"]]).encrypt(b"value", here)
    assert RecipientCipher([key], [], [made["PRIVATE_KEYS"]]).decrypt(sealed, here) == b"value"

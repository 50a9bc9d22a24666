"""`manage.py attempts rotate-keys` where somebody has made values large: none is fetched whole."""

from __future__ import annotations

import base64
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.test import override_settings
from django.utils import timezone

from async_attempts import Arguments, Attempt, call
from async_attempts.encryption import AESGCMSIVCipher, open_sealed
from async_attempts.encryption.keys import Key
from async_attempts.models import Failure, Schedule
from async_attempts.payload.limits import most_args_bytes
from async_attempts.store import rotation, store_for
from tests.shop import clients
from tests.store.large import octets, peak_below, write
from tests.store.rows import failure_of

CONFIGURED: Any = settings.ASYNC_ATTEMPTS
OLD = CONFIGURED["KEYS"][0]
NEW = base64.b64encode(bytes(range(100, 132))).decode()
OLD_ID, NEW_ID = Key(OLD).id, Key(NEW).id
UNKNOWN_ID = bytes.fromhex("1a2b3c4d")
MIB = 2**20
SIZE = "12,000,000 bytes, too large to be read"


class Own(AESGCMSIVCipher):
    """A project's own cipher, whose first bytes may say anything."""

    def encrypt(self, plaintext, context):
        return super().encrypt(plaintext, context)


def using(**changes):
    return override_settings(ASYNC_ATTEMPTS=CONFIGURED | {"KEYS": [NEW, OLD]} | changes)


def rotate(database, **options):
    call_command("attempts", "rotate-keys", database=database, batch_size=2, **options)


def enqueued(database):
    return call(clients.greet, 1).using(database=database).enqueue()


def failed(database, number=1):
    return failure_of(enqueued(database), number)


def scheduled(database, name="weekly"):
    row = Schedule(name=name, cron="@weekly", timezone="UTC", target="tests.shop.clients.greet")
    row.seal(Arguments(7))
    store_for(database).schedules.put(row)
    return row


def put(database, row, column, key_id, version=b"\x02"):
    write(database, row, **{column: octets(database, version + key_id)})


KINDS = [
    (enqueued, "args", "attempt {0.pk}: args"),
    (enqueued, "result", "attempt {0.pk}: result"),
    (failed, "details", "attempt {0.attempt_id}: failure 1"),
    (scheduled, "args", "schedule {0.pk}: args"),
]
IDS = ["arguments", "result", "failure", "schedule"]


@pytest.mark.parametrize(("made", "column", "where"), KINDS, ids=IDS)
def test_it_is_told_and_not_fetched_and_all_others_are_sealed_anew(
    database, capsys, made, column, where
):
    large = made(database)
    put(database, large, column, UNKNOWN_ID)
    others = [enqueued(database) for _ in range(3)]
    with using(), peak_below(2 * MIB):
        rotate(database, ids=True)
    told = capsys.readouterr().out
    assert f"{UNKNOWN_ID.hex()}: {where.format(large)}: {SIZE}\n" in told
    assert "1 value is too large, and not read" in told
    assert "raise ASYNC_ATTEMPTS['MAX_ARGS_BYTES']" in told
    rows = Attempt.objects.using(database).filter(pk__in=[row.pk for row in others])
    assert all(AESGCMSIVCipher([NEW]).is_sealed_with_current_key(row.args) for row in rows)


@pytest.mark.parametrize(("made", "column", "where"), KINDS, ids=IDS)
def test_one_that_names_the_key_that_is_to_go_keeps_it(database, capsys, made, column, where):
    large = made(database)
    put(database, large, column, OLD_ID)
    other = enqueued(database)
    named = f"1 value is marked with the key {OLD_ID.hex()}"
    with using(), peak_below(2 * MIB), pytest.raises(CommandError, match=named):
        rotate(database)
    told = capsys.readouterr().out
    assert "any more" not in told
    args = Attempt.objects.using(database).get(pk=other.pk).args
    assert AESGCMSIVCipher([NEW]).is_sealed_with_current_key(args)


@pytest.mark.parametrize(("made", "column", "where"), KINDS, ids=IDS)
def test_one_of_the_first_key_needs_nothing_but_for_another_realm(
    database, capsys, made, column, where
):
    large = made(database)
    put(database, large, column, NEW_ID)
    with using():
        rotate(database, strict=True)
        assert "too large" not in capsys.readouterr().out
        with pytest.raises(CommandError, match="1 value is not to be opened"):
            rotate(database, strict=True, from_realm="before")


def test_it_is_among_what_strict_refuses(database):
    put(database, enqueued(database), "args", UNKNOWN_ID)
    with using(), pytest.raises(CommandError, match="1 value is not to be opened"):
        rotate(database, strict=True)


def test_of_a_cipher_of_ones_own_nothing_tells_that_the_key_may_go(database):
    own = f"{__name__}.Own"
    with using(CIPHER=own):
        put(database, enqueued(database), "args", NEW_ID)
        with pytest.raises(CommandError, match="1 value is too large, and CIPHER is your own"):
            rotate(database)


def test_what_becomes_large_meanwhile_is_not_fetched(database, capsys, monkeypatch):
    attempt = enqueued(database)

    def enlarged(stored, context, by):
        put(database, attempt, "args", OLD_ID)
        return open_sealed(stored, context, by)

    monkeypatch.setattr(rotation, "open_sealed", enlarged)
    named = f"1 value is marked with the key {OLD_ID.hex()}"
    with using(), peak_below(2 * MIB), pytest.raises(CommandError, match=named):
        rotate(database, ids=True)
    assert SIZE in capsys.readouterr().out


def test_the_limit_may_be_raised_for_what_is_ones_own(database, capsys):
    attempt = enqueued(database)
    sealed = AESGCMSIVCipher([OLD]).encrypt(b" " * 5_000, attempt.context("args"))
    Attempt.objects.using(database).filter(pk=attempt.pk).update(args=sealed)
    with using(MAX_ARGS_BYTES=10):
        with pytest.raises(CommandError, match="or too large to be read"):
            rotate(database)
        assert "1 value is too large" in capsys.readouterr().out
    with using():
        rotate(database)
    args = Attempt.objects.using(database).get(pk=attempt.pk).args
    assert AESGCMSIVCipher([NEW]).is_sealed_with_current_key(args)


def failures_of_one(database):
    first = failed(database)
    rows = [Failure(pk=uuid4(), number=number) for number in range(2, MANY + 1)]
    for row in rows:
        row.attempt, row.failed_at = first.attempt, first.failed_at
        row.kind, row.error_class, row.details = first.kind, first.error_class, first.details
    return [first, *Failure.objects.using(database).bulk_create(rows)]


MANY = 40
many: Any = {
    "attempts": lambda database: [enqueued(database) for _ in range(MANY)],
    "failures": failures_of_one,
    "schedules": lambda database: [scheduled(database, f"s{n}") for n in range(MANY)],
}


@pytest.mark.parametrize("what", list(many))
def test_many_that_are_just_within_the_limit_do_not_add_up(database, monkeypatch, what):
    """Of 40 values of 130 kB no more than 500 kB are fetched at once, with what is made of them."""
    monkeypatch.setattr(rotation, "BYTES_AT_ONCE", 500_000)
    value = octets(database, b"\x02" + OLD_ID, most_args_bytes())
    rows: list[Any] = many[what](database)
    for row in rows:
        write(database, row, **{"details" if what == "failures" else "args": value})
    expected = pytest.raises(
        CommandError, match=f"40 values are marked with the key {OLD_ID.hex()}"
    )
    with using(), peak_below(3 * MIB), expected:
        call_command("attempts", "rotate-keys", database=database, batch_size=30)


def test_plain_values_that_are_too_large_are_neither_listed_nor_sealed(database, capsys):
    rows = [enqueued(database), failed(database), scheduled(database)]
    for row, column in zip(rows, ("args", "details", "args"), strict=True):
        write(database, row, **{column: octets(database, b"\x00")})
    until = (timezone.now() + timedelta(minutes=1)).isoformat()
    flags = ["--seal-plaintext", "--until", until, "--no-input", "--database", database]
    with peak_below(2 * MIB):
        call_command("attempts", "rotate-keys", *flags)
    told = capsys.readouterr().out
    assert "Nothing is stored in plain." in told
    assert "3 values are too large, and not read" in told

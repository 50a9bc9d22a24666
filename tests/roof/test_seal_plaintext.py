"""`manage.py attempts rotate-keys --seal-plaintext`: it signs no more than a person has read of."""

from __future__ import annotations

import io
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.test import override_settings
from django.utils import timezone

from async_attempts import Arguments, Attempt, call
from async_attempts.encryption import AESGCMSIVCipher
from async_attempts.ids import made_at, uuid7
from async_attempts.models import Failure, Schedule, sealed_details
from async_attempts.store import store_for
from tests.shop import clients, effects

CONFIGURED: Any = settings.ASYNC_ATTEMPTS
PLAIN = "async_attempts.encryption.NullCipher"
WELCOME = "tests.shop.clients.send_welcome"
LATER = timedelta(minutes=1)


def in_plain():
    return override_settings(ASYNC_ATTEMPTS=CONFIGURED | {"CIPHER": PLAIN})


def stored_plain(database, function=clients.send_welcome, status="succeeded", **columns):
    with in_plain():
        attempt = call(function, 7).using(database=database).enqueue()
    ended = {} if status == "pending" else {"completed_at": attempt.created_at}
    rows = Attempt._base_manager.using(database).filter(pk=attempt.pk)
    rows.update(status=status, sealed_result=b"\x00null", **ended, **columns)
    return rows.get()


def seal(database, *flags, until=None):
    until = until or timezone.now() + LATER
    arguments = ["--seal-plaintext", "--until", until.isoformat(), "--batch-size=2", *flags]
    call_command("attempts", "rotate-keys", "--database", database, *arguments)


def is_sealed(row):
    row = type(row)._base_manager.using(row._state.db).get(pk=row.pk)
    cipher = AESGCMSIVCipher(CONFIGURED["KEYS"])
    values = [row.details] if isinstance(row, Failure) else [row.args]
    return all(cipher.is_sealed_with_current_key(value) for value in values)


def test_what_has_ended_is_sealed_with_its_result_and_its_failures(database):
    rows = [stored_plain(database, status=status) for status in ("succeeded", "failed", "expired")]
    with in_plain():
        failure = Failure.objects.using(database).create(
            attempt=rows[1],
            number=1,
            kind="error",
            details=sealed_details("it broke", "", rows[1].context("error", 1)),
            failed_at=timezone.now(),
        )
    seal(database, "--no-input")
    assert all(map(is_sealed, [*rows, failure]))
    row = Attempt.objects.using(database).get(pk=rows[0].pk)
    assert (row.method_args, row.stored_result) == ([7], None)


@pytest.mark.parametrize("flags", [[], ["--live", f"{WELCOME}s"], ["--live", "tests.shop.clients"]])
def test_what_has_not_ended_is_left_unless_its_target_is_named(database, flags):
    row = stored_plain(database, status="pending")
    with pytest.raises(CommandError, match="2 values are not to be opened"):
        seal(database, "--no-input", "--strict", *flags)
    assert not is_sealed(row)


def test_of_the_targets_that_are_named_what_has_not_ended_is_sealed(database):
    row = stored_plain(database, status="pending")
    other = stored_plain(database, effects.record, status="pending")
    with pytest.raises(CommandError, match="2 values are not to be opened"):
        seal(database, "--no-input", "--strict", "--live", WELCOME)
    assert is_sealed(row)
    assert not is_sealed(other)


def test_what_was_enqueued_after_the_moment_is_left(database):
    old = stored_plain(database, created_at=datetime(2026, 1, 1, tzinfo=UTC))
    new = stored_plain(database, created_at=datetime(2026, 3, 1, tzinfo=UTC))
    with pytest.raises(CommandError, match="2 values are not to be opened"):
        seal(database, "--no-input", "--strict", until=datetime(2026, 2, 1, tzinfo=UTC))
    assert is_sealed(old)
    assert not is_sealed(new)


@pytest.mark.parametrize(
    ("flags", "older", "sealed"),
    [(["--live", WELCOME], True, True), (["--live", WELCOME], False, False), ([], True, False)],
)
def test_a_schedule_is_sealed_if_its_target_is_named_and_it_is_old(database, flags, older, sealed):
    with in_plain():
        row = Schedule(name="weekly", cron="@weekly", timezone="UTC", target=WELCOME)
        row.seal(Arguments(7))
        row.write(database, None)
    until = timezone.now() + (LATER if older else -LATER)
    if sealed:
        seal(database, "--no-input", *flags, until=until)
        assert store_for(database).database.schedules.get().arguments == Arguments(7)
    else:
        with pytest.raises(CommandError, match="1 value is not to be opened"):
            seal(database, "--no-input", "--strict", *flags, until=until)
    assert is_sealed(row) == sealed


def test_all_that_is_plain_is_listed_by_target_and_time_before(database, capsys):
    january, march = (datetime(2026, month, 1, tzinfo=UTC) for month in (1, 3))
    for moment in (january, march):
        stored_plain(database, created_at=moment)
    stored_plain(database, status="pending", created_at=march)
    stored_plain(database, effects.record, created_at=march, target="shop\nfake")
    call(clients.send_welcome, 8).using(database=database).enqueue()
    seal(database, "--no-input", until=datetime(2026, 2, 1, tzinfo=UTC))
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["TARGET", "ATTEMPTS", "NUMBER", "FROM", "TO", "SEALED"]
    assert [line[0] for line in lines[1:5]] == [r"shop\nfake.record", WELCOME, WELCOME, WELCOME]
    assert [line[-1] for line in lines[1:5]] == ["no", "yes", "no", "no"]
    assert "2026-01-01 00:00:00+00:00" in " ".join(lines[2])
    assert ["none", "plain", "2", "6"] in lines
    assert lines[-1] == "6 values are stored in plain: see --seal-plaintext.".split()


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("said", "sealed"), [("y\n", True), ("yes\n", True), ("n\n", False), ("\n", False)]
)
def test_on_a_terminal_it_asks(db, monkeypatch, capsys, said, sealed):
    row = stored_plain("default")
    monkeypatch.setattr(sys, "stdin", Terminal(said))
    seal("default")
    assert is_sealed(row) == sealed
    assert ("Nothing was sealed." in capsys.readouterr().out) != sealed


def test_where_nobody_can_be_asked_it_only_lists(db, monkeypatch, capsys):
    row = stored_plain("default")
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    with pytest.raises(CommandError, match="--no-input") as raised:
        seal("default")
    assert raised.value.returncode == 2
    assert WELCOME in capsys.readouterr().out
    assert not is_sealed(row)


def test_where_nothing_is_plain_it_rotates_and_asks_nothing(db, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    call(clients.send_welcome, 8).enqueue()
    seal("default")
    told, _, *rows = capsys.readouterr().out.splitlines()
    assert told == "Nothing is stored in plain."
    assert [row.split()[1:] for row in rows] == [["first", "0", "0"]]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--seal-plaintext"], "--until: is needed"),
        (["--seal-plaintext", "--until", "yesterday"], "--until"),
        (["--seal-plaintext", "--until", "2026-11-30T12:00:00"], "no offset from UTC"),
        (["--seal-plaintext", "--until", "2026-11-30"], r"say 2026-11-30T00:00:00\+00:00 if"),
        (["--until", "2026-11-30T12:00:00+00:00"], "say --seal-plaintext"),
        (["--live", WELCOME], "say --seal-plaintext"),
    ],
)
def test_what_is_left_out_or_wrong_is_told(db, arguments, told):
    row = stored_plain("default")
    with pytest.raises(CommandError, match=told) as raised:
        call_command("attempts", "rotate-keys", *arguments, "--no-input")
    assert raised.value.returncode == 2
    assert not is_sealed(row)


def test_without_the_flag_nothing_plain_is_sealed(database, capsys):
    row = stored_plain(database)
    call_command("attempts", "rotate-keys", "--database", database)
    assert "see --seal-plaintext" in capsys.readouterr().out
    assert not is_sealed(row)


def test_an_id_says_when_it_was_made():
    made = made_at(uuid7())
    assert made is not None
    assert abs(timezone.now() - made) < LATER
    assert made_at(type(uuid7())(int=0)) is None
    assert made_at(type(uuid7())(int=uuid7().int | 0xFFFF_FFFF_FFFF << 80)) is None

"""`manage.py attempts rotate-keys`: everything is sealed with the first key, and still opens."""

from __future__ import annotations

import base64
import os
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.test import override_settings
from django.utils import timezone

from async_attempts import Arguments, Attempt, call
from async_attempts.encryption import AESGCMSIVCipher, open_sealed
from async_attempts.encryption.ciphers import FORMATS
from async_attempts.encryption.keys import Key
from async_attempts.exceptions import Tampered
from async_attempts.management.commands import _rotation
from async_attempts.models import Failure, Schedule
from async_attempts.payload import dump_arguments, load_arguments, load_bound
from async_attempts.store import rotation, store_for
from tests.shop import clients, flows
from tests.worker.helpers.attempts import drain

CONFIGURED: Any = settings.ASYNC_ATTEMPTS
OLD = CONFIGURED["KEYS"][0]
NEW = base64.b64encode(bytes(range(100, 132))).decode()


ONLY_FIRST = {1: FORMATS[1]}


class FirstFormat(AESGCMSIVCipher):
    """A release that writes version 1."""

    formats = ONLY_FIRST


PLAIN = "async_attempts.encryption.NullCipher"


@pytest.fixture(autouse=True)
def _nothing_noted():
    flows.noted.clear()
    yield
    flows.noted.clear()


def using(**changes):
    return override_settings(ASYNC_ATTEMPTS=CONFIGURED | changes)


def enqueued(database, **options):
    target = call(clients.OrderClient.fulfill, customer_token="t", order_number=1)
    return target.using(database=database, **options).enqueue()


def rotate(database, **options):
    call_command("attempts", "rotate-keys", database=database, batch_size=2, **options)


def test_arguments_results_and_failures_open_with_the_new_key_alone(database):
    kept = enqueued(database, keep_result=True)
    broken = call(clients.send_welcome, 1).using(database=database, max_attempts=1).enqueue()
    Attempt.objects.using(database).filter(pk=broken.pk).update(args=b"\x01 tampered with")
    call_command("run_attempts", drain=True, database=database, verbosity=0)
    for _ in range(3):
        enqueued(database)
    failure = Failure.objects.using(database).get()
    message, result = failure.message, Attempt.objects.using(database).get(pk=kept.pk).stored_result
    Attempt.objects.using(database).filter(pk=broken.pk).delete()

    with using(KEYS=[NEW, OLD]):
        rotate(database)
    with using(KEYS=[NEW]):
        rows = Attempt.objects.using(database).all()
        assert all(row.method_args["order_number"] == 1 for row in rows)
        assert all(AESGCMSIVCipher([NEW]).is_sealed_with_current_key(row.args) for row in rows)
        assert rows.get(pk=kept.pk).stored_result == result
    assert message


def forged(database, key_id, body=None):
    """An attempt whose arguments name this key, and were sealed by none."""
    attempt = enqueued(database)
    body = os.urandom(60) if body is None else body
    args = b"\x02" + bytes.fromhex(key_id) + body
    Attempt.objects.using(database).filter(pk=attempt.pk).update(args=args)
    return attempt


def told(capsys):
    """The output's table by key, and the rest of its lines."""
    lines = capsys.readouterr().out.splitlines()
    head = next(number for number, line in enumerate(lines) if line.startswith("KEY "))
    table = [line.split() for line in lines[head + 1 :] if len(line.split()) == 4]
    rows = {cells[0]: (cells[1], int(cells[2]), int(cells[3])) for cells in table}
    return rows, lines[:head] + lines[head + 1 + len(table) :]


def id_of(key):
    return Key(key).id.hex()


def test_what_no_key_opens_is_counted_and_left_as_it_is(database, capsys):
    attempt = enqueued(database)
    with using(KEYS=[NEW]):
        rotate(database)
        rows, rest = told(capsys)
        assert rows == {id_of(NEW): ("first", 0, 0), id_of(OLD): ("unknown", 0, 1)}
        assert len(rest) == 1
        assert "a key that was removed too early" in rest[0]
        with pytest.raises(CommandError, match="1 value is not to be opened"):
            rotate(database, strict=True)
    assert Attempt.objects.using(database).get(pk=attempt.pk).method_args["order_number"] == 1


def test_made_up_keys_keep_no_key_from_going(database, capsys):
    for _ in range(3):
        enqueued(database)
    odd = [forged(database, "1a2b3c4d") for _ in range(2)]
    with using(KEYS=[NEW, f"retired:{OLD}"]):
        rotate(database, ids=True)
    rows, rest = told(capsys)
    assert rows == {
        id_of(NEW): ("first", 0, 0),
        id_of(OLD): ("retired", 3, 0),
        "1a2b3c4d": ("unknown", 0, 2),
    }
    assert rest[:2] == [f"1a2b3c4d: attempt {attempt.pk}: args" for attempt in odd]
    assert rest[2] == f"Nothing on this database is sealed with the key {id_of(OLD)} any more."


def test_a_value_that_names_the_key_that_is_to_go_is_told_with_its_place(database, capsys):
    enqueued(database)
    odd = forged(database, id_of(OLD))
    with using(KEYS=[NEW, OLD]):
        with pytest.raises(CommandError, match=f"1 value is marked with the key {id_of(OLD)}"):
            rotate(database, ids=True)
        rows, rest = told(capsys)
        assert rows[id_of(OLD)] == ("old", 1, 1)
        assert rest == [f"{id_of(OLD)}: attempt {odd.pk}: args"]
        Attempt.objects.using(database).filter(pk=odd.pk).delete()
        rotate(database)
        assert f"sealed with the key {id_of(OLD)} any more" in capsys.readouterr().out


def test_made_up_keys_fill_no_memory(database, capsys, monkeypatch):
    monkeypatch.setattr(_rotation, "MOST_KEYS", 2)
    for number in range(5):
        forged(database, f"0000000{number}")
    forged(database, id_of(OLD))
    with using(KEYS=[NEW, OLD]), pytest.raises(CommandError, match=id_of(OLD)):
        rotate(database)
    rows, _ = told(capsys)
    assert rows["others"] == ("unknown", 0, 3)
    assert rows[id_of(OLD)] == ("old", 0, 1)


def test_values_of_version_1_are_sealed_anew_with_their_own_key(database, capsys):
    attempt = enqueued(database)
    row = Attempt.objects.using(database).get(pk=attempt.pk)
    first = FirstFormat([OLD]).encrypt(
        AESGCMSIVCipher([OLD]).decrypt(row.args, row.context("args")), row.context("args")
    )
    assert first[:1] == b"\x01"
    Attempt.objects.using(database).filter(pk=attempt.pk).update(args=first)
    rotate(database)
    assert told(capsys)[0] == {id_of(OLD): ("first", 1, 0)}
    args = Attempt.objects.using(database).get(pk=attempt.pk).args
    assert bytes(args[:1]) == b"\x02"


def test_a_dependent_of_version_1_is_bound_to_its_prerequisites(database):
    call(flows.fetch, 2).using(database=database).then(flows.increase, by=3).then(
        flows.increase
    ).enqueue()
    rows = Attempt.objects.using(database)
    for row in rows.all():
        plaintext = open_sealed(row.args, row.context("args"))
        unbound = dump_arguments(load_arguments(plaintext))
        assert (unbound == plaintext) == (not row.dependencies.exists())
        first = FirstFormat([OLD]).encrypt(unbound, row.context("args"))
        rows.filter(pk=row.pk).update(args=first)
    with using(KEYS=[NEW, f"retired:{OLD}"]):
        rotate(database)
        for row in rows.all():
            _, bound_to = load_bound(open_sealed(row.args, row.context("args")))
            assert bool(bound_to) == row.dependencies.exists()
        call_command("run_attempts", drain=True, database=database, verbosity=0)
    assert {row.status for row in rows.all()} == {"succeeded"}
    assert flows.noted == [("fetch", 2), ("increase", 2), ("increase", 5)]


def test_what_others_change_meanwhile_is_tried_again(database, capsys, monkeypatch):
    attempt = enqueued(database)
    rows = Attempt.objects.using(database).filter(pk=attempt.pk)
    seals: list[bytes] = []

    def change(stored, context, by):
        plaintext = open_sealed(stored, context, by)
        if len(seals) < 2:
            seals.append(AESGCMSIVCipher([OLD]).encrypt(plaintext, context))
            rows.update(args=seals[-1])
        return plaintext

    monkeypatch.setattr(rotation, "open_sealed", change)
    with using(KEYS=[NEW, OLD]):
        rotate(database)
    assert told(capsys)[0][id_of(OLD)] == ("old", 1, 0)
    seals.clear()
    monkeypatch.setattr(rotation, "TRIES", 2)
    rows.update(args=AESGCMSIVCipher([OLD]).encrypt(b"", rows.get().context("args")))
    with using(KEYS=[NEW, OLD]):
        with pytest.raises(CommandError, match="1 value is changed by others"):
            rotate(database)
        assert "any more" not in capsys.readouterr().out


def test_what_waits_for_a_key_comes_at_once(database):
    attempt = enqueued(database)
    with using(KEYS=[NEW, f"retired:{OLD}"]):
        call_command("run_attempts", drain=True, database=database, verbosity=0)
        row = Attempt.objects.using(database).get(pk=attempt.pk)
        assert (row.status, row.claim_seq) == ("scheduled", 1)
        rotate(database)
        call_command("run_attempts", drain=True, database=database, verbosity=0)
    assert Attempt.objects.using(database).get(pk=attempt.pk).status == "succeeded"


def test_what_is_put_off_for_another_cause_is_left(database):
    later = enqueued(database, scheduled_at=timezone.now() + timedelta(hours=1))
    due = Attempt.objects.using(database).get(pk=later.pk).scheduled_at
    with using(KEYS=[NEW, OLD]):
        rotate(database)
    assert Attempt.objects.using(database).get(pk=later.pk).scheduled_at == due


def test_plain_rows_are_told_and_left(database, capsys):
    with using(CIPHER=PLAIN):
        enqueued(database)
    rotate(database)
    rows, rest = told(capsys)
    assert rows["none"] == ("plain", 0, 1)
    assert rest == ["1 value is stored in plain: see --seal-plaintext."]


def test_a_cipher_without_keys_has_nothing_to_rotate():
    with using(CIPHER=PLAIN), pytest.raises(CommandError, match="no keys that could be rotated"):
        rotate("default")


def test_a_schedules_arguments_open_with_the_new_key_alone(database):
    schedules = store_for(database).database.schedules
    row = Schedule(
        name="weekly", cron="@weekly", timezone="UTC", target="tests.shop.clients.send_welcome"
    )
    row.seal(Arguments(7))
    store_for(database).schedules.put(row)
    with using(KEYS=[NEW, OLD]):
        rotate(database)
    with using(KEYS=[NEW]):
        assert schedules.get().arguments == Arguments(7)


def test_a_new_realm_takes_over_what_the_old_one_sealed(database):
    def read(attempt):
        return Attempt.objects.using(database).get(pk=attempt.pk)

    with using(REALM="shop"):
        done = call(flows.fetch, 1).using(database=database, keep_result=True).enqueue()
        failed = call(flows.refuse).using(database=database).enqueue()
        drain(database)
        waiting = enqueued(database, idempotence_token="token")
        schedule = Schedule(name="nightly", cron="0 2 * * *", target="tests.shop.clients.greet")
        schedule.seal(Arguments(1))
        schedule.write(database, None)
    with using(REALM="shop-production"):
        rotate(database)
        assert bytes(read(waiting).args) == bytes(waiting.args)
        with pytest.raises(Tampered):
            read(waiting).method_args  # noqa: B018
        rotate(database, from_realm="shop")
        assert read(waiting).method_args == {"customer_token": "t", "order_number": 1}
        assert read(done).stored_result == 1
        assert "stove" in Failure.objects.using(database).get(attempt=failed.pk).message
        assert Schedule.objects.using(database).get().arguments == Arguments(1)
        before = bytes(read(waiting).args)
        rotate(database, from_realm="shop")
        assert bytes(read(waiting).args) == before

"""`manage.py attempts rotate-keys`: everything is sealed with the first key, and still opens."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.test import override_settings

from async_attempts import Arguments, Attempt, call
from async_attempts.encryption import AESGCMSIVCipher
from async_attempts.models import Failure, Schedule
from async_attempts.store import store_for
from tests.shop import clients

CONFIGURED: Any = settings.ASYNC_ATTEMPTS
OLD = CONFIGURED["KEYS"][0]
NEW = base64.b64encode(bytes(range(100, 132))).decode()
PLAIN = "async_attempts.encryption.NullCipher"


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


def test_what_no_key_opens_is_counted_and_left_as_it_is(database, capsys):
    attempt = enqueued(database)
    with using(KEYS=[NEW]), pytest.raises(CommandError, match="1 values can't be opened"):
        rotate(database)
    assert Attempt.objects.using(database).get(pk=attempt.pk).method_args["order_number"] == 1
    assert "0 values" in capsys.readouterr().out


def test_a_cipher_without_keys_has_nothing_to_rotate():
    with using(CIPHER=PLAIN), pytest.raises(CommandError, match="no keys that could be rotated"):
        rotate("default")


def test_a_schedules_arguments_open_with_the_new_key_alone(database):
    schedules = store_for(database).schedules
    row = Schedule(
        name="weekly", cron="@weekly", timezone="UTC", target="tests.shop.clients.send_welcome"
    )
    row.seal(Arguments(7))
    store_for(database).put(row)
    with using(KEYS=[NEW, OLD]):
        rotate(database)
    with using(KEYS=[NEW]):
        assert schedules.get().arguments == Arguments(7)

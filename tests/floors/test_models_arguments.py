"""The arguments of a row: encrypted, read when asked for, and shown nowhere."""

from __future__ import annotations

import base64
import copy
import pickle
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.core import serializers
from django.db import connections
from django.forms.models import model_to_dict

from async_attempts import Arguments, Attempt, InvalidOption, call
from async_attempts.exceptions import Tampered, UnknownKey
from tests.shop import clients, effects
from tests.shop.clients import OrderClient
from tests.shop.models import Customer, Order
from tests.shop.unsaved import new_attempt

SECRET = "canary-4711"
OTHER_KEY = base64.b64encode(bytes(range(50, 82))).decode()


def enqueued(database: str) -> Any:
    return (
        call(OrderClient.fulfill, customer_token=SECRET, order_number=1)
        .using(database=database)
        .enqueue()
    )


def stored(row: Any) -> Any:
    return Attempt.objects.using(row._state.db).get(pk=row.pk)


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ({"customer_pk": 1}, {"customer_pk": 1}),
        ([1], [1]),
        ((1,), [1]),
        (Arguments(1), [1]),
        (Arguments(customer_pk=1), {"customer_pk": 1}),
    ],
)
def test_they_are_read_as_a_dict_of_keywords_or_a_list(database: str, given: Any, read: Any):
    row = Attempt.objects.using(database).create(target=clients.send_welcome, method_args=given)
    assert row.method_args == read
    assert stored(row).method_args == read
    assert type(stored(row).method_args) is type(read)


def test_both_together_are_read_as_arguments(database: str):
    row = call(effects.record, 1, 2, note="x").using(database=database).enqueue()
    assert stored(row).method_args == Arguments(1, 2, note="x")


def test_no_arguments_are_an_empty_dict(database: str):
    row = call(OrderClient.name_class).using(database=database).enqueue()
    assert stored(row).method_args == {}


def test_the_column_does_not_hold_them_in_clear(database: str):
    row = enqueued(database)
    with connections[database].cursor() as cursor:
        cursor.execute("SELECT * FROM async_attempts_attempt")
        (columns,) = cursor.fetchall()
    assert SECRET not in repr([bytes(c) if isinstance(c, memoryview) else c for c in columns])
    assert SECRET.encode() not in bytes(row.args)


def test_rows_are_listed_without_decrypting_and_read_by_the_key(database: str, settings: Any):
    enqueued(database)
    settings.ASYNC_ATTEMPTS = django_settings.ASYNC_ATTEMPTS | {"KEYS": [OTHER_KEY]}
    (row,) = Attempt.objects.using(database).filter(status="pending")
    assert "fulfill" in str(row) + repr(row)
    row.expire()
    with pytest.raises(UnknownKey):
        _ = row.method_args


def test_they_open_in_their_own_row_only(database: str):
    row, other = enqueued(database), enqueued(database)
    Attempt.objects.using(database).filter(pk=other.pk).update(args=row.args)
    with pytest.raises(Tampered):
        _ = stored(other).method_args


def test_changing_what_was_read_changes_no_row(database: str):
    row = enqueued(database)
    row.method_args["customer_token"] = "other"
    assert row.method_args["customer_token"] == SECRET
    row.save()
    assert stored(row).method_args["customer_token"] == SECRET


def test_a_pickled_row_drops_what_was_decrypted_and_can_read_it_again(database: str):
    row = stored(enqueued(database))
    assert row.method_args["customer_token"] == SECRET
    pickled = pickle.dumps(row)
    assert SECRET.encode() not in pickled
    again = pickle.loads(pickled)  # noqa: S301 its own
    assert again == row
    assert again.method_args == row.method_args
    again.priority = 3
    again.save()
    assert stored(row).priority == 3


def test_a_pickled_queryset_drops_what_was_decrypted(database: str):
    enqueued(database)
    rows = Attempt.objects.using(database).all()
    assert rows[0].method_args
    assert SECRET.encode() not in pickle.dumps([*rows])


def test_the_row_that_was_enqueued_can_be_pickled(database: str):
    row = enqueued(database)
    pickled = pickle.dumps(row)
    assert SECRET.encode() not in pickled
    assert pickle.loads(pickled).method_args["customer_token"] == SECRET  # noqa: S301 its own


def test_a_copy_of_a_row_that_is_not_yet_written_promises_the_same(database: str):
    row = new_attempt(target=clients.send_welcome, method_args=[7])
    Attempt.objects.using(database).bulk_create([copy.copy(row)])
    assert Attempt.objects.using(database).get().method_args == [7]


def test_they_are_shown_nowhere(database: str):
    row = enqueued(database)
    assert row.method_args
    listed = Attempt.objects.using(database).all()
    shown = [
        repr(row),
        str(row),
        repr(listed),
        repr(listed.values()),
        repr(model_to_dict(row)),
        serializers.serialize("json", listed),
        repr(call(OrderClient.fulfill, customer_token=SECRET, order_number=1).use()),
        repr(Arguments(SECRET, token=SECRET)),
        repr(new_attempt(target=OrderClient, method_name="fulfill", method_args=[SECRET])),
    ]
    for text in shown:
        assert SECRET not in text
        assert base64.b64encode(SECRET.encode()).decode()[:10] not in text


def test_the_subject_is_read_again_from_where_the_attempt_is(database: str):
    order = Order.objects.using(database).create(number=1)
    row = call(clients.send_welcome, 1).using(database=database, subject=order).enqueue()
    assert (row.subject_type, row.subject_id) == ("shop.order", str(order.pk))
    assert stored(row).subject == order
    assert stored(row).subject._state.db == database


def test_a_subject_that_is_gone_is_none(database: str):
    order = Order.objects.using(database).create(number=1)
    row = call(clients.send_welcome, 1).using(database=database, subject=order).enqueue()
    order.delete()
    assert stored(row).subject is None


def test_a_subject_whose_primary_key_has_two_columns_is_found_again(database: str):
    parcel = clients.Parcel(order_number=7, position='a"b')
    parcel.save(using=database)
    row = call(clients.send_welcome, 1).using(database=database, subject=parcel).enqueue()
    assert stored(row).subject == parcel


@pytest.mark.parametrize("subject", [Customer(name="unsaved"), "order", 1])
def test_a_subject_must_be_a_saved_instance(subject: Any):
    with pytest.raises(InvalidOption, match="subject"):
        new_attempt(target=clients.send_welcome, subject=subject)

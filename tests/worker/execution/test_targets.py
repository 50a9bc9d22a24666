"""Every kind of target is called with the arguments that were promised."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from async_attempts import Attempt
from tests.shop import effects
from tests.shop.effects import RecordedOrder, Recorder, RecorderHeir
from tests.worker.helpers.attempts import drain, enqueued, performed

ARGUMENTS = (1, "zwei", Decimal("3.00"), datetime(2030, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        (effects.record, "function"),
        (effects.record_async, "async function"),
        (Recorder.static, "static"),
        (Recorder.static_async, "async static"),
        (Recorder.of_class, "Recorder"),
        (RecordedOrder.of_model, "model RecordedOrder"),
    ],
)
def test_a_target_is_called_with_its_arguments(database, target, kind):
    attempt = performed(database, target, *ARGUMENTS, note=None)
    assert attempt.status == "succeeded"
    assert effects.seen == [(kind, ARGUMENTS, {"note": None})]


@pytest.mark.parametrize(
    ("method", "kind"), [("of_instance", "order 7"), ("of_instance_async", "async order 7")]
)
def test_a_method_of_a_row_is_called_on_that_row(database, method, kind):
    RecordedOrder.objects.using(database).create(number=6)
    order = RecordedOrder.objects.using(database).create(number=7)
    attempt = performed(database, getattr(order, method), "de", copies=2)
    assert attempt.status == "succeeded"
    assert effects.seen == [(kind, ("de",), {"copies": 2})]


def test_a_row_is_read_when_it_is_performed_not_when_it_was_enqueued(database):
    order = RecordedOrder.objects.using(database).create(number=7)
    enqueued(database, order.of_instance)
    RecordedOrder.objects.using(database).update(number=8)
    drain(database)
    assert effects.seen == [("order 8", (), {})]


def test_the_plain_form_is_performed_as_the_typed_one(database):
    Attempt.objects.using(database).create(
        target=Recorder, method_name="static", method_args={"number": 1}
    )
    drain(database)
    assert effects.seen == [("static", (), {"number": 1})]


def test_a_method_inherited_by_a_class_is_called_on_that_class(database):
    performed(database, RecorderHeir.of_class)
    assert effects.seen == [("RecorderHeir", (), {})]

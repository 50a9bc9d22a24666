"""A row that somebody altered is never performed, nor is anything imported for it."""

from __future__ import annotations

import sys
from importlib.util import find_spec

import pytest

from async_attempts.calls import call, enqueue_many
from async_attempts.models import Failure
from tests.shop import effects
from tests.shop.effects import RecordedOrder
from tests.worker.helpers.attempts import drain, enqueued, failures, put, states, stored

NEVER_IMPORTED = "this"


def require_integrity_failure(attempt, error_class="async_attempts.exceptions.Tampered"):
    attempt = stored(attempt)
    assert attempt.status == "failed"
    assert (attempt.num_attempts, attempt.error_class) == (1, error_class)
    (failure,) = failures(attempt)
    assert failure.kind == "integrity"
    assert effects.seen == []


def test_any_altered_byte_of_the_arguments_fails_the_attempt(database):
    attempts = enqueue_many(
        call(effects.record, "secret", 7).using(database=database)
        for _ in stored(enqueued(database, effects.record, "secret", 7)).args
    )
    for position, attempt in enumerate(attempts):
        altered = bytearray(stored(attempt).args)
        altered[position] ^= 1 << (position % 8)
        put(attempt, args=bytes(altered))
    drain(database)
    assert states(database) == ["succeeded"] + ["failed"] * len(attempts)
    assert effects.seen == [("function", ("secret", 7), {})]
    kinds = Failure.objects.using(database).values_list("kind", flat=True)
    assert list(kinds) == ["integrity"] * len(attempts)


@pytest.mark.parametrize("args", [b"", b"\x01", b"\x01" + bytes(60), b"\x02" * 60])
def test_arguments_that_are_something_else_are_never_performed(database, args):
    attempt = enqueued(database, effects.record)
    put(attempt, args=args)
    drain(database)
    assert stored(attempt).state in ("failed", "scheduled")
    assert effects.seen == []


def test_the_arguments_of_another_attempt_fail_it(database):
    attempt = enqueued(database, effects.record, 1)
    other = enqueued(database, effects.record, 2, options={"queue": "emails"})
    put(attempt, args=stored(other).args)
    drain(database, queues="default")
    require_integrity_failure(attempt)


@pytest.mark.parametrize(
    "altered",
    [
        {"method_name": "record_async"},
        {"method_name": "no_such_method"},
        {"target": "tests.shop.effects.Recorder", "method_name": "static"},
        {"target": "os", "method_name": "system"},
        {"target_pk": "1"},
        {"target_pk": ""},
    ],
)
def test_an_altered_promise_fails_the_attempt(database, altered):
    attempt = enqueued(database, effects.record, 1)
    put(attempt, **altered)
    drain(database)
    require_integrity_failure(attempt)


def test_another_rows_method_is_never_called(database):
    orders = [RecordedOrder.objects.using(database).create(number=n) for n in (1, 2)]
    attempt = enqueued(database, orders[0].of_instance)
    put(attempt, target_pk=str(orders[1].pk))
    drain(database)
    require_integrity_failure(attempt)


def test_nothing_is_imported_for_an_altered_target(database):
    assert NEVER_IMPORTED not in sys.modules
    assert find_spec(NEVER_IMPORTED) is not None
    attempt = enqueued(database, effects.record, 1)
    put(attempt, target=NEVER_IMPORTED, method_name="s")
    drain(database)
    require_integrity_failure(attempt)
    assert NEVER_IMPORTED not in sys.modules


def test_the_neighbours_of_an_altered_row_are_performed(database):
    attempts = [enqueued(database, effects.record, n) for n in range(3)]
    put(attempts[1], method_name="record_async")
    drain(database)
    assert states(database) == ["succeeded", "failed", "succeeded"]
    assert effects.seen == [("function", (0,), {}), ("function", (2,), {})]

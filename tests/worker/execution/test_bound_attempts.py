"""An attempt's arguments open for one promise only: each bit of them, and all it is bound to."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
from django.db import transaction
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from async_attempts import Attempt, call, current_attempt
from async_attempts.calls import enqueue_many
from async_attempts.models import Failure
from tests.shop import effects
from tests.shop.effects import RecordedOrder
from tests.worker.helpers.attempts import drain, enqueued, failures, make_due, put, stored
from tests.worker.helpers.forging import flipped, kinds_of_failures, require_refused, subsets, swap

BOUND = ("target", "target_pk", "method_name", "idempotence_token", "args")

ANEW = {"status": "pending", "claimed_by": None, "num_attempts": 0, "completed_at": None}
"""The columns of an attempt that is to be performed once more."""

few = settings(
    max_examples=5,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


class Promised(NamedTuple):
    """A call; `order`: that of a row's method, if it is one."""

    target: Any
    order: int | None
    arguments: tuple[Any, ...]
    token: str | None

    def enqueue(self, database: str) -> Attempt:
        """Write it; two of one token are two rows, as somebody may take the key of one away."""
        target = self.target
        if self.order is not None:
            number = self.order
            row, _ = RecordedOrder.objects.using(database).get_or_create(number=number)
            target = getattr(row, self.target)
        attempt = enqueued(database, target, *self.arguments, options=self.options())
        put(attempt, unique_key=None)
        return attempt

    def options(self) -> dict[str, Any]:
        return {} if self.token is None else {"idempotence_token": self.token}


functions = st.sampled_from([effects.record, effects.record_async, effects.Recorder.static])
arguments = st.lists(st.integers() | st.text(max_size=8), max_size=3).map(tuple)
tokens = st.none() | st.sampled_from(["pay-1", "pay-2", "PAY-1", "ü"])
promises = st.builds(Promised, functions, st.none(), arguments, tokens) | st.builds(
    Promised,
    st.sampled_from(["of_instance", "of_instance_async"]),
    st.integers(1, 2),
    arguments,
    tokens,
)
EVERYTHING = (
    Promised(effects.record, None, (1,), "pay-1"),
    Promised("of_instance", 1, (2,), "pay-2"),
)


def test_each_changed_bit_of_the_arguments_fails_the_attempt(database):
    template = stored(enqueued(database, effects.record, "secret", 7))
    attempts = enqueue_many(
        call(effects.record, "secret", 7).using(database=database)
        for _ in range(8 * len(template.args))
    )
    with transaction.atomic(database):
        for number, attempt in enumerate(attempts):
            put(attempt, args=list(flipped(attempt.args))[number])
    drain(database)
    assert effects.seen == [("function", ("secret", 7), {})]
    assert Attempt.objects.using(database).filter(status="failed").count() == len(attempts)
    assert kinds_of_failures(database) == ["integrity"] * len(attempts)


@few
@example(pairs=[(*EVERYTHING, columns) for columns in subsets(BOUND)])
@given(
    pairs=st.lists(
        st.tuples(promises, promises, st.sampled_from(subsets(BOUND))), min_size=1, max_size=12
    )
)
def test_what_two_rows_have_swapped_calls_nobody(database, pairs):
    effects.seen.clear()
    Failure.objects.using(database).all().delete()
    Attempt.objects.using(database).all()._raw_delete(database)
    altered, calls = [], 0
    with transaction.atomic(database):
        for first, second, columns in pairs:
            rows = [stored(first.enqueue(database)), stored(second.enqueue(database))]
            if swap(columns, *rows):
                altered += rows
            else:
                calls += 2
    drain(database)
    for attempt in altered:
        require_refused(attempt)
    assert len(effects.seen) == calls


@pytest.fixture
def sent(acting):
    """The idempotency keys that targets have sent along."""
    sent: list[str] = []
    acting(lambda *_: sent.append(current_attempt().idempotency_key))
    return sent


def test_a_payment_is_not_sent_again_under_another_token(database, sent):
    altered = [None, "", "other", "PAY-3", "pay-4 ", "pay-"]
    tokens = [f"pay-{number}" for number in range(len(altered))]
    attempts = [
        enqueued(database, effects.act, 10, options={"idempotence_token": token})
        for token in tokens
    ]
    drain(database)
    assert sorted(sent) == tokens
    for attempt, token in zip(attempts, altered, strict=True):
        put(attempt, idempotence_token=token, **ANEW)
    drain(database)
    for attempt in attempts:
        require_refused(attempt)
    assert len(sent) == len(tokens)


def test_a_payment_without_a_token_is_not_given_one(database, sent):
    attempt = enqueued(database, effects.act, 10)
    put(attempt, idempotence_token="used already")
    drain(database)
    require_refused(attempt)
    assert sent == []


def test_arguments_in_the_row_of_another_id_call_nobody(database):
    attempt = enqueued(database, effects.record, 1)
    row = Attempt.objects.using(database).filter(pk=attempt.pk).values().get()
    columns = {column: value for column, value in row.items() if column != "id"}
    copy = enqueued(database, effects.record, 2)
    put(copy, **columns)
    drain(database)
    require_refused(copy)
    assert effects.seen == [("function", (1,), {})]


def failed_twice(database, acting):
    """An attempt with two failures, whose messages differ."""
    messages = iter(["the first", "the second"])

    def fail():
        raise ValueError(next(messages))

    acting(fail)
    attempt = enqueued(database, effects.act_thrice, options={"max_attempts": 2})
    for _ in range(2):
        make_due(attempt)
        drain(database)
    return attempt


def test_details_of_another_execution_of_the_same_attempt_do_not_open(database, acting):
    attempt = failed_twice(database, acting)
    before = failures(attempt)
    assert [failure.message for failure in before] == ["the first", "the second"]
    swap(("details",), *before)
    for failure in failures(attempt):
        assert "were altered" in failure.message
        assert failure.traceback == ""


def test_each_changed_bit_of_a_failures_details_hides_them(database, acting):
    first, _ = failures(failed_twice(database, acting))
    details = bytes(first.details)
    for changed in flipped(details):
        first._read = None
        first.details = changed
        assert "were altered" in first.message
        assert first.traceback == ""


@pytest.mark.parametrize("details", [b"", b"\xff", b"\xffcould not be sealed: \xfe\x80\0\x1b[2J"])
def test_details_that_are_no_text_break_no_reader(database, acting, details):
    first, _ = failures(failed_twice(database, acting))
    put_details(first, details)
    first, _ = failures(first.attempt)
    assert first.message.isprintable()
    assert first.traceback == ""


def put_details(failure, details):
    Failure.objects.using(failure._state.db).filter(pk=failure.pk).update(details=details)

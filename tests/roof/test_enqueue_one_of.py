"""`one_of`, and keys of targets: where they are said, and what is refused."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from django.db import transaction

from async_attempts import (
    Attempt,
    attemptable,
    call,
    enqueue,
    enqueue_many,
    enqueue_stream,
    event,
    on,
    parallel,
    schedule,
)
from async_attempts.events.listeners import registry
from async_attempts.exceptions import InvalidOption
from tests.shop import clients, paced
from tests.shop.clients import PostedOrder
from tests.shop.paced import export, index, recount_stock, reindex, remind
from tests.shop.unsaved import new_attempt

from .test_enqueue_debounce import HOUR, WAYS, by_call, by_create, every_way, rows


@every_way
def test_a_function_of_the_arguments_keeps_calls_apart(database: str, way: Any):
    found = [way(database, export, number) for number in (1, 2, 1, 2)]
    assert [row.created for row in found] == [True, True, False, False]
    assert (found[2].pk, found[3].pk) == (found[0].pk, found[1].pk)
    assert rows(database).count() == 2


@every_way
def test_true_is_one_for_all_calls_of_the_target(database: str, way: Any):
    first, second = way(database, remind, 1), way(database, remind, 2)
    assert (first.created, second.created) == (True, False)
    [row] = rows(database)
    assert (row.pk, row.method_args, row.status) == (first.pk, [2], "scheduled")


@every_way
def test_what_the_caller_says_wins(database: str, way: Any):
    first = way(database, export, 1)
    assert way(database, export, 1, one_of=False).created
    assert way(database, export, 1, one_of="other").created
    replaced = way(database, export, 1, when_taken="replace", priority=7)
    assert (replaced.pk, replaced.created, replaced.priority) == (first.pk, False, 7)
    assert way(database, export, 1, debounce=HOUR).status == "scheduled"
    assert way(database, reindex, 1, one_of=True).status == "pending"


def test_instances_are_apart(database: str):
    orders = [PostedOrder.objects.using(database).create(number=number) for number in (1, 2)]
    for _ in range(2):
        for order in orders:
            call(order.send_confirmation_email).using(database=database, one_of=True).enqueue()
    assert rows(database).count() == 2


@every_way
def test_a_debounced_target_has_a_key_of_its_arguments(database: str, way: Any):
    found = [way(database, index, number) for number in (1, 2, 1, 2)]
    assert [row.created for row in found] == [True, True, False, False]
    assert way(database, index, 3, key=1).pk == found[0].pk
    assert way(database, index, 1, throttle=HOUR).status == "pending"
    assert not way(database, index, 1, throttle=HOUR).created
    assert way(database, index, 2, throttle=HOUR).created


def test_a_key_is_compared_as_text(db: None):
    enqueue(export, 7)
    assert not enqueue(export, "7").created
    assert enqueue(export, UUID(int=7)).created
    assert not enqueue(export, str(UUID(int=7))).created


def test_a_call_without_a_key_is_an_ordinary_attempt(db: None, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(paced, "made_of", lambda *_: None)
    for target in (paced.index_made, paced.export_made):
        first, second = enqueue(target, 1), enqueue(target, 1)
        assert (first.created, second.created) == (True, True)
        assert (first.status, first.unique_key) == ("pending", None)


def test_alike_calls_in_a_batch_go_by_their_keys(database: str):
    calls = [call(export, number % 3).using(database=database) for number in range(60)]
    found = enqueue_many(calls)
    assert [row.created for row in found] == [True] * 3 + [False] * 57
    assert enqueue_many(iter(calls), returning=False) == 0


@pytest.mark.django_db(transaction=True)
def test_a_stream_enqueues_one_for_each_key():
    streamed = enqueue_stream(lambda number: call(export, number % 3), range(250))
    assert (streamed.enqueued, streamed.found) == (3, 247)
    assert Attempt.objects.count() == 3


def test_a_later_call_may_be_for_later(database: str):
    with transaction.atomic(database):
        first = by_call(database, export, 1, scheduled_at=HOUR)
        assert by_call(database, export, 1).status == "scheduled"
        assert by_create(database, export, 1, when_taken="replace").status == "pending"
        assert (
            by_create(database, export, 1, when_taken="replace", scheduled_at=HOUR).pk == first.pk
        )


def test_what_is_scheduled_may_be_one_of_its_key(db: None):
    assert schedule(HOUR, export, 1).status == "scheduled"
    assert not enqueue(export, 1).created


def test_others_may_depend_on_the_attempt_that_serves(db: None):
    first = enqueue(export, 1)
    again = enqueue(export, 1)
    waiting = call(clients.greet, 1).using(depends_on=again).enqueue()
    assert waiting.status == "waiting"
    assert waiting.dependencies.get().prerequisite_id == first.pk


def test_get_or_create_tells_what_was_there(db: None):
    def created(number: int) -> bool:
        defaults: dict[str, Any] = {"method_args": [1]}
        return Attempt.objects.get_or_create(target=export, priority=number, defaults=defaults)[1]

    assert [created(1), created(2)] == [True, False]


def test_a_listener_may_be_one_of_its_key(database: str, monkeypatch: pytest.MonkeyPatch):
    for kept in ("listeners", "by_event"):
        monkeypatch.setattr(registry, kept, {})
    on("table.changed")(export)
    changed = event("table.changed", table=1).using(database=database)
    [first], [second] = changed.emit(), changed.emit()
    assert (second.created, second.pk) == (False, first.pk)
    with pytest.raises(InvalidOption, match=r"idempotence_token, one_of: .*without a token"):
        changed.using(idempotence_token="once").emit()


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"one_of": "a", "debounce": 1}, "one_of, debounce: an attempt has one of them"),
    ({"one_of": "a", "throttle": 1}, "one_of, throttle: an attempt has one of them"),
    ({"one_of": "a", "idempotence_token": "b"}, r"idempotence_token, one_of: .*one_of=False"),
    ({"one_of": "a", "key": "b"}, "key: belongs to debounce or throttle"),
    ({"one_of": "a", "max_wait": 1}, "max_wait: belongs to debounce"),
    ({"one_of": "a", "when_taken": "wait"}, "when_taken: .*keep, skip, replace, again, not 'wait'"),
    ({"one_of": "a", "when_taken": ["keep"]}, "when_taken: must be one of"),
    ({"when_taken": "keep"}, "when_taken: belongs to one_of"),
    ({"one_of": False, "when_taken": "keep"}, "when_taken: belongs to one_of"),
    ({"debounce": 1, "when_taken": "keep"}, "when_taken: belongs to one_of"),
    ({"one_of": ""}, "one_of: must have a character"),
    ({"one_of": 1.5}, "one_of: must be text"),
    ({"one_of": "\ud800"}, "one_of: must have"),
    ({"one_of": lambda number: number}, "one_of: must be text, a whole number or a UUID"),
]


@pytest.mark.parametrize(("options", "words"), REFUSED)
@pytest.mark.parametrize("way", [by_call, by_create, WAYS[-1]])
def test_what_is_refused_names_the_options(db: None, way: Any, options: Any, words: str):
    with transaction.atomic():
        with pytest.raises(InvalidOption, match=words):
            way("default", clients.greet, 1, **options)
        assert by_call("default", clients.greet, 1).created


@pytest.mark.parametrize(
    ("made_of", "words"),
    [
        (lambda number: 1 / (number - 1), "the function of .*made raised ZeroDivisionError"),
        (lambda: 1, "the function of .*made raised TypeError; it is called with the attempt's"),
        (lambda number: [number], "must be text, a whole number or a UUID, not a list"),
        (lambda number: number == 1, "must be text, a whole number or a UUID, not a bool"),
        (lambda number: "x" * (number - 1), "must have a character at least"),
    ],
)
def test_what_a_function_makes_may_be_no_key(
    db: None, monkeypatch: pytest.MonkeyPatch, made_of: Any, words: str
):
    monkeypatch.setattr(paced, "made_of", made_of)
    for target, option in [(paced.export_made, "one_of"), (paced.index_made, "key")]:
        with pytest.raises(InvalidOption, match=f"{option}: {words}"):
            enqueue(target, 1)
    assert not Attempt.objects.exists()


def test_flows_and_bulk_create_refuse(db: None):
    one = call(export, 1)
    for flow in (one.then(clients.greet), call(clients.greet, 1).then(export), parallel(one)):
        if flow.is_group:
            [row] = flow.enqueue()
            assert row.created
            continue
        with pytest.raises(InvalidOption, match=r"depends_on, one_of: .*one_of=False"):
            flow.enqueue()
    with pytest.raises(InvalidOption, match=r"bulk_create: .*one_of.*enqueue_many"):
        Attempt.objects.bulk_create([new_attempt(target=export, method_args=[1])])
    untyped: Any = Attempt.objects
    with pytest.raises(InvalidOption, match="one_of: not for get_or_create"):
        untyped.get_or_create(target=clients.greet, one_of="a", defaults={"method_args": [1]})
    off = call(export, 1).using(one_of=False).then(clients.greet).enqueue()
    assert off.status == "waiting"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"one_of": "a", "debounce": 1}, "one_of, debounce"),
        ({"one_of": "a", "throttle": 1}, "one_of, throttle"),
        ({"when_taken": "keep"}, "when_taken: belongs to one_of"),
        ({"debounce": 1, "when_taken": "keep"}, "when_taken: belongs to one_of"),
        ({"one_of": "a", "when_taken": "wait"}, "when_taken: must be one of keep, skip"),
        ({"one_of": False}, "one_of: must be True, text, or a function"),
        ({"one_of": 7}, "one_of: must be True, text, or a function"),
        ({"one_of": ""}, "one_of: must have a character"),
        ({"one_of": "a", "key": "b"}, "key: belongs to debounce or throttle"),
        ({"key": "b"}, "key: belongs to debounce or throttle"),
        ({"debounce": 1, "key": 7}, "key: must be text, or a function"),
        ({"debounce": 1, "key": "\ud800"}, "key: must have a character"),
    ],
)
def test_what_a_target_may_not_say(options: Any, words: str):
    with pytest.raises(InvalidOption, match=words):
        attemptable(**options)


def test_targets_that_say_nothing_are_templates_still(db: None):
    from async_attempts.models.row_template import template_of

    assert template_of(Attempt, clients.greet) is not None
    for target in (export, remind, index, reindex, recount_stock):
        assert template_of(Attempt, target) is None

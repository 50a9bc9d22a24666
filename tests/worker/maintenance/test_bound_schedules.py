"""A schedule's arguments open for one definition only: what was edited in the table never ticks."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from django.db import transaction
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from async_attempts import Arguments, recurring, schedules
from async_attempts.exceptions import Tampered
from async_attempts.models import Schedule
from async_attempts.models.schedule import BOUND
from async_attempts.store import store_for
from async_attempts.worker.maintenance.schedule_ticks import ScheduleTicks
from tests.shop import effects
from tests.worker.helpers.attempts import drain, enqueued, stored
from tests.worker.helpers.forging import flipped, require_refused, subsets, swap

COLUMNS = (*BOUND, "args")
FIRST: dict[str, Any] = {
    "target": "tests.shop.effects.record",
    "cron": "* * * * *",
    "timezone": "UTC",
    "overlap": "allow",
    "catch_up": "latest",
}
SECOND: dict[str, Any] = {
    "target": "tests.shop.effects.record_async",
    "cron": "*/1 * * * *",
    "timezone": "Europe/Berlin",
    "overlap": "skip",
    "catch_up": "none",
}
definitions = st.fixed_dictionaries(
    {column: st.sampled_from([FIRST[column], SECOND[column]]) for column in FIRST}
)
few = settings(
    max_examples=4,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(autouse=True)
def _nothing_declared(monkeypatch):
    monkeypatch.setattr(schedules, "_in_code", {})


@pytest.fixture
def store(at_home):
    return store_for(at_home)


def made(store, name: str = "charge", argument: Any = 1, **definition: Any) -> Any:
    """A schedule of a person's, whose tick of this minute is due."""
    row = Schedule(name=name, **FIRST | definition)
    row.seal(Arguments(argument))
    store.schedules.put(row)
    let_tick(store)
    return store.database.schedules.get(pk=row.pk)


def written(store, name: str, definition: dict[str, Any]) -> Any:
    """As `made`, by one statement, and not due yet."""
    row = Schedule(name=name, **definition)
    row._state.db = store.database.alias
    row.seal(Arguments(name))
    row.write(store.database.alias, None)
    return row


def let_tick(store) -> None:
    """Let the tick of the present minute be due for all."""
    minute = store.database.now().replace(second=0, microsecond=0)
    store.database.schedules.update(next_tick=minute)


def edit(row, **columns) -> None:
    Schedule._base_manager.using(row._state.db).filter(pk=row.pk).update(**columns)


def test_each_changed_bit_of_the_arguments_stops_the_schedule(store):
    first = made(store)
    template = bytes(first.args)
    row = Schedule._base_manager.using(store.database.alias).filter(pk=first.pk)
    context = first.context()
    for changed in flipped(template):
        first.args = changed
        with pytest.raises(Tampered, match="edited past the form"):
            first.plaintext()
    assert first.context() == context
    for changed in list(flipped(template))[::37]:
        row.update(args=changed)
        [ticked] = store.schedules.enqueue_ticks([])
        assert isinstance(ticked.problem, Tampered)
    assert not store.database.attempts.exists()


@few
@example(pairs=[(FIRST, SECOND, columns) for columns in subsets(COLUMNS) if len(columns) != 4])
@given(
    pairs=st.lists(
        st.tuples(definitions, definitions, st.sampled_from(subsets(COLUMNS))),
        min_size=1,
        max_size=12,
    )
)
def test_what_two_schedules_have_swapped_enqueues_nothing(store, pairs):
    store.database.attempts.all()._raw_delete(store.database.alias)
    store.database.schedules.all().delete()
    altered = set()
    with transaction.atomic(store.database.alias):
        for number, (first, second, columns) in enumerate(pairs):
            rows = [
                written(store, f"{number} {which}", definition)
                for which, definition in enumerate((first, second))
            ]
            if swap(columns, *rows):
                altered |= {row.pk for row in rows}
    let_tick(store)
    ticked = store.schedules.enqueue_ticks([])
    problems = [one.problem for one in ticked if one.attempt is None]
    assert all("edited past the form" in str(problem) for problem in problems)
    assert {type(problem) for problem in problems} <= {Tampered}
    names = dict(store.database.schedules.values_list("name", "pk"))
    assert {names[one.schedule] for one in ticked if one.problem} == altered
    assert store.database.attempts.count() == len(names) - len(altered)


@pytest.mark.parametrize(
    "edited",
    [
        {"cron": "* * * * * *"},
        {"timezone": "Asia/Tokyo"},
        {"overlap": "skip"},
        {"catch_up": "none"},
        {"name": "another"},
        {"name": "Charge"},
        {"target": "tests.shop.effects.record_async"},
        {"target": "tests.shop.effects.Recorder.static"},
    ],
)
def test_what_was_edited_in_the_table_says_so_and_does_not_tick(store, caplog, edited):
    row = made(store)
    edit(row, **edited)
    let_tick(store)
    one = ScheduleTicks(store)
    with caplog.at_level(logging.ERROR):
        assert not one.enqueue()
    assert caplog.text.count("edited past the form") == 1
    drain(store.database.alias)
    assert not store.database.attempts.exists()
    assert effects.seen == []
    with pytest.raises(Tampered, match="edited past the form"):
        store.schedules.enqueue_now(row.pk)


def test_what_is_bound_to_nothing_may_be_edited(store):
    row = made(store)
    edit(row, queue="emails", priority=7)
    [ticked] = store.schedules.enqueue_ticks([])
    assert (ticked.attempt.queue, ticked.attempt.priority) == ("emails", 7)


def test_a_past_tick_of_its_cron_ticks_once_however_often_it_is_set(store):
    row = made(store)
    for _ in range(3):
        edit(row, next_tick=store.database.schedules.get().last_tick or row.next_tick)
        store.schedules.enqueue_ticks([])
    assert store.database.attempts.count() <= 2
    assert (
        store.database.attempts.values("scheduled_at").distinct().count()
        == store.database.attempts.count()
    )


def test_arguments_of_a_performed_attempt_make_no_schedule(store):
    attempt = stored(enqueued(store.database.alias, effects.record, 1))
    drain(store.database.alias)
    forged = Schedule(id=attempt.pk, name="forged", args=attempt.args, **FIRST)
    forged.write(store.database.alias, None)
    let_tick(store)
    [ticked] = store.schedules.enqueue_ticks([])
    assert isinstance(ticked.problem, Tampered)
    drain(store.database.alias)
    assert effects.seen == [("function", (1,), {})]


def test_arguments_of_a_schedule_make_no_attempt(store):
    row = made(store, argument="monthly")
    store.database.schedules.update(next_tick=None)
    attempt = enqueued(store.database.alias, effects.record, 2)
    store.database.attempts.filter(pk=attempt.pk).update(id=row.pk, args=row.args)
    drain(store.database.alias)
    require_refused(store.database.attempts.get(pk=row.pk))
    assert effects.seen == []


def test_arguments_of_one_schedule_are_not_anothers(store):
    row, other = made(store, "one", 1), made(store, "other", 2)
    edit(row, args=other.args)
    problems = {one.schedule: type(one.problem) for one in store.schedules.enqueue_ticks([])}
    assert problems == {"one": Tampered, "other": type(None)}


@pytest.mark.parametrize(
    "edited",
    [
        {"cron": "* * * * * *"},
        {"timezone": "Asia/Tokyo"},
        {"overlap": "skip"},
        {"catch_up": "none"},
        {"target": "tests.shop.effects.record_async"},
        {"args": b"\x02" + bytes(60)},
        {"args": b"\xfe" + bytes(60)},
        {"args": b""},
    ],
)
def test_what_code_declares_is_mended_by_the_next_declaration(store, edited):
    recurring("* * * * *", name="code", method_args=["ticked"], timezone="UTC")(effects.record)
    schedules.declare(store)
    row = store.database.schedules.get()
    edit(row, **edited)
    schedules.declare(store)
    let_tick(store)
    [ticked] = store.schedules.enqueue_ticks(["code"])
    assert ticked.problem is None
    row = store.database.schedules.get()
    assert {column: getattr(row, column) for column in FIRST} == FIRST
    drain(store.database.alias)
    assert effects.seen == [("function", ("ticked",), {})]


def test_a_renamed_row_of_code_is_declared_anew_and_the_other_never_ticks(store):
    recurring("* * * * *", name="code", method_args=["ticked"], timezone="UTC")(effects.record)
    schedules.declare(store)
    edit(store.database.schedules.get(), name="b", source="admin")
    schedules.declare(store)
    let_tick(store)
    problems = {one.schedule: type(one.problem) for one in store.schedules.enqueue_ticks(["code"])}
    assert problems == {"code": type(None), "b": Tampered}


def test_a_person_mends_an_edited_schedule_by_giving_its_arguments_anew(store):
    row = made(store)
    edit(row, cron="* * * * * *")
    row = store.database.schedules.get()
    row.seal(Arguments("mended"))
    store.schedules.put(row)
    let_tick(store)
    [ticked] = store.schedules.enqueue_ticks([])
    assert ticked.attempt.method_args == ["mended"]

"""An operator's times for a schedule of code: kept by declarations, and sealed."""

from __future__ import annotations

import logging
from datetime import timedelta

import pytest

from async_attempts import Arguments, InvalidOption, Schedule, recurring, schedules
from async_attempts.exceptions import UnknownKey
from async_attempts.store import declared_schedules, store_for
from async_attempts.store.expressions import seconds_from_now
from tests.shop import effects

NAME = "code"
HOURLY = timedelta(hours=1)


@pytest.fixture(autouse=True)
def _nothing_declared(monkeypatch):
    monkeypatch.setattr(schedules, "_in_code", {})


@pytest.fixture
def store(at_home):
    store = store_for(at_home)
    declare(store)
    return store


def declare(store, cron: str = "0 2 * * *", **options) -> None:
    """A release that declares it so."""
    schedules._in_code.clear()
    given = {"name": NAME, "method_args": ["ticked"], "timezone": "UTC"} | options
    recurring(None if "every" in options else cron, **given)(effects.record)
    assert schedules.declare(store_for(schedules._store(None).database.alias)) == {NAME}


def row(store):
    return store.database.schedules.get()


def edit(store, **columns) -> None:
    store.database.schedules.update(**columns)


def ticks(store):
    edit(store, next_tick=seconds_from_now(-1))
    [ticked] = store.schedules.enqueue_ticks([NAME])
    return ticked


def test_the_next_declaration_leaves_it(store):
    schedules.override(NAME, every=HOURLY)
    for _ in range(2):
        found = row(store)
        assert (found.times, found.code_says) == ("every 1:00:00", "0 2 * * *")
        assert found.next_tick == found.when.after(store.database.now())
        declare(store)
    assert ticks(store).attempt.method_args == ["ticked"]
    declare(store, cron="0 3 * * *", method_args=["another"], overlap="skip")
    found = row(store)
    assert (found.times, found.code_says, found.overlap) == ("every 1:00:00", "0 3 * * *", "skip")
    assert found.arguments == Arguments("another")
    assert ticks(store).problem is None


def test_declaring_the_same_beside_it_writes_nothing(store, django_assert_num_queries):
    schedules.override(NAME, cron="30 4 * * *")
    with django_assert_num_queries(1, using=store.database.alias):
        schedules.declare(store)


def test_back_to_code(store):
    schedules.override(NAME, every=60)
    schedules.back_to_code(NAME)
    found = row(store)
    assert (found.times, found.code_says, found.next_tick.hour) == ("0 2 * * *", None, 2)
    declare(store, every=90)
    assert row(store).every == timedelta(seconds=90)


def test_what_is_paused_stays_paused_and_what_is_due_is_enqueued(store):
    edit(store, next_tick=seconds_from_now(-1))
    due = row(store).next_tick
    schedules.override(NAME, every=60)
    assert row(store).next_tick == due
    schedules.pause(NAME)
    schedules.override(NAME, every=90)
    schedules.back_to_code(NAME)
    assert (row(store).is_paused, row(store).next_tick) == (True, None)


@pytest.mark.parametrize(
    ("name", "times", "told"),
    [
        (NAME, {}, "cron: must be given"),
        (NAME, {"cron": "@daily", "every": 60}, "every: a schedule has"),
        (NAME, {"cron": "61 * * * *"}, "cron: "),
        (NAME, {"every": 0}, "every: must be"),
        ("nothing", {"every": 60}, "name: 'nothing' is declared by no code here; there are: code"),
    ],
)
def test_what_can_not_be_is_refused(store, name, times, told):
    before = store.database.schedules.values().get()
    with pytest.raises(InvalidOption, match=told):
        schedules.override(name, **times)
    assert store.database.schedules.values().get() == before


def test_what_no_worker_has_declared_has_no_times_yet(store):
    store.database.schedules.all().delete()
    with pytest.raises(InvalidOption, match="no worker has declared"):
        schedules.override(NAME, every=60)


def test_one_that_code_made_for_a_row_is_not_codes(store):
    store.database.schedules.all().delete()
    rows = Schedule.objects.using(store.database.alias)
    rows.create(name=NAME, every=60, target=effects.record)
    with pytest.raises(InvalidOption, match="no worker has declared"):
        schedules.override(NAME, every=90)
    assert row(store).every == timedelta(minutes=1)


# --- what somebody without the keys writes into the table


@pytest.mark.parametrize(
    "edited",
    [
        {"cron": "* * * * * *"},
        {"every": timedelta(seconds=1), "cron": ""},
        {"timezone": "Asia/Tokyo"},
        {"args": b""},
    ],
)
@pytest.mark.parametrize("is_operators", [True, False])
def test_only_what_was_sealed_is_an_operators(store, caplog, edited, is_operators):
    if is_operators:
        schedules.override(NAME, cron="30 4 * * *")
    edit(store, code_says="0 2 * * *", **edited)
    if "args" not in edited:
        assert ticks(store).problem is not None
    with caplog.at_level(logging.ERROR):
        schedules.declare(store)
    assert "edited past the form: back to code's" in caplog.text
    found = row(store)
    assert (found.times, found.timezone, found.code_says) == ("0 2 * * *", "UTC", None)
    assert ticks(store).attempt.method_args == ["ticked"]


def test_one_changed_bit_is_enough(store):
    schedules.override(NAME, cron="30 4 * * *")
    sealed = bytearray(row(store).args)
    sealed[-1] ^= 1
    edit(store, args=bytes(sealed))
    schedules.declare(store)
    assert (row(store).times, row(store).code_says) == ("0 2 * * *", None)


def test_what_code_said_before_is_no_operators(store):
    declare(store, cron="* * * * *")
    before = row(store)
    declare(store)
    edit(store, cron=before.cron, args=before.args, code_says="0 2 * * *")
    assert ticks(store).problem is not None
    schedules.declare(store)
    assert row(store).times == "0 2 * * *"


def test_a_process_without_the_key_leaves_it_alone(store, monkeypatch, caplog):
    schedules.override(NAME, every=60)
    before = store.database.schedules.values().get()

    def opened(*_):
        raise UnknownKey("k", "a key")

    monkeypatch.setattr(Schedule, "plaintext", opened)
    schedules.declare(store)
    assert store.database.schedules.values().get() == before
    assert "left as it is" in caplog.text


def test_a_declaration_that_was_read_before_is_not_written_over_it(store, monkeypatch):
    schedules.pause(NAME)
    changes = declared_schedules._changes

    def slowly(found, one):
        changed = changes(found, one)
        monkeypatch.setattr(declared_schedules, "_changes", changes)
        schedules.override(NAME, every=60)
        return changed

    monkeypatch.setattr(declared_schedules, "_changes", slowly)
    declare(store, cron="0 3 * * *")
    assert row(store).every == timedelta(minutes=1)
    declare(store, cron="0 3 * * *")
    assert (row(store).times, row(store).code_says) == ("every 0:01:00", "0 3 * * *")

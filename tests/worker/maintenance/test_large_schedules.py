"""A schedule's arguments over the limit aren't fetched: not at ticks, nor at declarations."""

from __future__ import annotations

import pytest
from django.test.utils import CaptureQueriesContext

from async_attempts import Arguments, recurring, schedules
from async_attempts.exceptions import InvalidArguments
from async_attempts.models import Schedule
from async_attempts.payload.limits import most_args_bytes
from async_attempts.store import store_for
from tests.shop import effects

LARGE = 3_000_000


@pytest.fixture(autouse=True)
def _nothing_declared(monkeypatch):
    monkeypatch.setattr(schedules, "_in_code", {})


@pytest.fixture
def store(at_home):
    return store_for(at_home)


@pytest.fixture
def fetched(monkeypatch):
    """The sizes of the arguments that rows of schedules were read with."""
    sizes: list[int] = []
    read = Schedule.from_db

    def noting(_cls, *given, **options):
        row = read(*given, **options)
        sizes.append(len(row.__dict__.get("args") or b""))
        return row

    monkeypatch.setattr(Schedule, "from_db", classmethod(noting))
    return sizes


def made(store, name="large", size=LARGE):
    """A schedule of a person's whose tick is due, with that many bytes in place of arguments."""
    target = "tests.shop.effects.record"
    row = Schedule(name=name, cron="* * * * *", timezone="UTC", target=target)
    row.seal(Arguments(1))
    store.schedules.put(row)
    if size:
        store.database.schedules.filter(pk=row.pk).update(args=bytes(size))
    store.database.schedules.update(next_tick=store.database.now())
    return row.pk


def test_a_tick_does_not_fetch_them_and_the_others_tick(store, fetched):
    made(store)
    made(store, "small", 0)
    ticked = {one.schedule: one for one in store.schedules.enqueue_ticks([])}
    assert ticked["small"].attempt.method_args == [1]
    assert isinstance(ticked["large"].problem, InvalidArguments)
    assert (
        "have 3,000,000 bytes, more than ASYNC_ATTEMPTS['MAX_ARGS_BYTES'] allows (132,096 with"
    ) in str(ticked["large"].problem)
    assert max(fetched) < LARGE


def test_what_is_at_the_limit_is_opened(store):
    made(store, size=most_args_bytes())
    [ticked] = store.schedules.enqueue_ticks([])
    assert not isinstance(ticked.problem, InvalidArguments)


def test_it_cannot_be_run_now_but_can_be_paused_and_resumed(store, fetched):
    pk = made(store)
    with pytest.raises(InvalidArguments, match="give them again"):
        store.schedules.enqueue_now(pk)
    assert (store.schedules.pause([pk]), store.schedules.resume([pk])) == (1, 1)
    assert max(fetched) < LARGE


def test_a_declaration_writes_those_of_code_anew_in_one_query_for_all(store, fetched):
    recurring("* * * * *", name="code", method_args=["mended"], timezone="UTC")(effects.record)
    schedules.declare(store)
    store.database.schedules.update(args=bytes(LARGE))
    made(store)
    with CaptureQueriesContext(store.database.connection) as queries:
        schedules.declare(store)
    reads = [each for each in queries if each["sql"].startswith("SELECT") and "cron" in each["sql"]]
    assert len(reads) == 1
    assert max(fetched) < LARGE
    assert store.database.schedules.get(name="code").arguments == Arguments("mended")


def test_a_person_gives_them_anew(store, fetched):
    pk = made(store)
    row = store.database.schedules.defer("args").get(pk=pk)
    with pytest.raises(InvalidArguments, match=r"have 3,000,000 bytes.* give them again"):
        _ = row.arguments
    row.seal(Arguments(2))
    store.schedules.put(row)
    assert max(fetched) < LARGE
    assert store.database.schedules.get(pk=pk).arguments == Arguments(2)

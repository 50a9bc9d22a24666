"""What another release, or another database, has sealed: tried later, or refused; never called."""

from __future__ import annotations

from base64 import b64encode
from datetime import timedelta
from io import StringIO

import pytest
from django.conf import settings
from django.core.checks import Tags, run_checks
from django.core.management import call_command
from django.test import override_settings

from async_attempts import Arguments, Attempt, call, schedules, stats
from async_attempts.encryption import cipher, open_sealed
from async_attempts.exceptions import Tampered, UnknownFormat
from async_attempts.models import Failure, Schedule
from async_attempts.schedules import recurring
from async_attempts.store import store_for
from async_attempts.store.plaintext import Plaintext
from async_attempts.store.resealing import Resealer
from tests.shop import effects, flows
from tests.worker.helpers.attempts import drain, enqueued, failures, make_due, put, states, stored
from tests.worker.helpers.forging import kinds_of_failures, require_refused

NEXT = "tests.shop.vault.NextVersion"
FIRST = "tests.shop.vault.FirstVersion"
PLAIN = "async_attempts.encryption.NullCipher"
HEX = "tests.shop.vault.Hexadecimal"


@pytest.fixture(autouse=True)
def _nothing_noted(monkeypatch):
    monkeypatch.setattr(schedules, "_in_code", {})
    flows.noted.clear()


def using(**changes):
    return override_settings(ASYNC_ATTEMPTS=settings.ASYNC_ATTEMPTS | changes)


def require_put_off(database, attempt):
    """It is released for up to a minute by each process, told, and never failed or counted."""
    for _ in range(3):
        make_due(attempt)
        drain(database)
        row = stored(attempt)
        assert (row.state, row.num_attempts, failures(attempt)) == ("scheduled", 0, [])
        assert "this release doesn't know" in row.reason
        assert 20 < (row.scheduled_at - store_for(database).moment()).total_seconds() < 61
    assert effects.seen == []


def test_a_newer_version_of_the_bytes_waits_for_who_knows_it(database, caplog):
    with using(CIPHER=NEXT):
        attempt = enqueued(database, effects.record, 1, options={"max_attempts": 1})
    require_put_off(database, attempt)
    assert "this release doesn't know: format 3" in caplog.text
    make_due(attempt)
    with using(CIPHER=NEXT):
        drain(database)
    assert stored(attempt).status == "succeeded"
    assert effects.seen == [("function", (1,), {})]


def test_figures_and_checks_name_the_format_that_is_not_known(database):
    with using(CIPHER=NEXT):
        for _ in range(4):
            enqueued(database, effects.record)
    drain(database, batch_size=1)
    assert sorted(states(database)) == ["pending"] * 3 + ["scheduled"]
    assert dict(stats(database=database).missing_keys) == {"format 3": 4}
    out = StringIO()
    call_command("attempts", "stats", database=database, stdout=out)
    told = "4 attempts wait in a form that a worker's release did not know: format 3."
    assert told in out.getvalue()
    found = run_checks(tags=[Tags.database], databases=[database])
    [warning] = [message for message in found if message.id == "async_attempts.W006"]
    assert "at least 4 attempts" in warning.msg
    assert "format 3, which this release doesn't know" in warning.msg


def test_what_waited_for_a_release_comes_at_once_when_it_is_sealed_anew(database):
    with using(CIPHER=NEXT):
        enqueued(database, effects.record)
    drain(database)
    assert states(database) == ["scheduled"]
    key = b64encode(bytes(range(1, 33))).decode()
    with using(CIPHER=NEXT, KEYS=[key, *settings.ASYNC_ATTEMPTS["KEYS"]]):
        call_command("attempts", "rotate-keys", database=database, stdout=StringIO())
        drain(database)
    assert states(database) == ["succeeded"]


def test_a_form_that_no_header_tells_is_counted_by_its_name(database):
    attempt = enqueued(database, effects.record)
    put(attempt, args=cipher().encrypt(b'[[1],{},{"bound":1}]', stored(attempt).context("args")))
    enqueued(database, effects.record)
    drain(database)
    assert dict(stats(database=database).missing_keys) == {"unknown parts": 1}


@pytest.mark.parametrize(
    "plaintext",
    [
        b'[[{"$":"colour","v":["red"]}],{}]',
        b'[[{"$":"handed","v":"everything"}],{}]',
        b"[[1],{},5]",
        b'[[1],{},"","more"]',
        b'[[1],{},{"bound":1}]',
    ],
)
def test_a_form_of_a_newer_release_waits_for_who_knows_it(database, plaintext):
    attempt = enqueued(database, effects.record, 1, options={"max_attempts": 1})
    put(attempt, args=cipher().encrypt(plaintext, stored(attempt).context("args")))
    make_due(attempt)
    drain(database)
    row = stored(attempt)
    assert (row.state, row.num_attempts, failures(attempt)) == ("scheduled", 0, [])
    assert "this release doesn't know" in row.reason
    assert effects.seen == []


def test_a_newer_result_waits_for_who_knows_it(database):
    first = call(flows.fetch, 7).using(database=database, queue="emails")
    last = first.then(flows.increase).enqueue()
    with using(CIPHER=NEXT):
        drain(database, queues="emails")
    drain(database, queues="default")
    row = stored(last)
    assert (row.state, row.num_attempts, failures(last)) == ("scheduled", 0, [])
    assert flows.noted == [("fetch", 7)]
    make_due(last)
    with using(CIPHER=NEXT):
        drain(database, queues="default")
    assert flows.noted == [("fetch", 7), ("increase", 7)]


def test_a_newer_schedule_waits_for_who_knows_it(at_home):
    store = store_for(at_home)
    row = Schedule(name="daily", cron="@daily", timezone="UTC", target="tests.shop.effects.record")
    with using(CIPHER=NEXT):
        row.seal(Arguments(1))
        store.put(row)
    midnight = store.moment().replace(hour=0, minute=0, second=0, microsecond=0)
    store.schedules.update(next_tick=midnight)
    [ticked] = store.enqueue_ticks([])
    assert isinstance(ticked.problem, UnknownFormat)
    assert store.schedules.get().next_tick == midnight
    with using(CIPHER=NEXT):
        [ticked] = store.enqueue_ticks([])
    assert ticked.attempt is not None


def test_what_this_release_made_is_no_newer_version_by_its_first_byte(database):
    attempts = [enqueued(database, effects.record, 1) for _ in range(3)]
    for attempt, version in zip(attempts, (b"\x01", b"\x03", b"\xfe"), strict=True):
        put(attempt, args=version + bytes(stored(attempt).args)[1:])
    drain(database)
    for attempt in attempts:
        require_refused(attempt)
    assert effects.seen == []


def test_a_row_of_another_realm_is_refused(database):
    with using(REALM="shop-staging"):
        attempt = enqueued(database, effects.record, 1)
        detailed = enqueued(database, effects.fail_at_once, options={"max_attempts": 1})
    with using(REALM="shop-production"):
        drain(database)
        require_refused(attempt)
        require_refused(detailed)
    assert effects.seen == []


ONE_REALM_EACH = {"default": "shop-lite", "postgresql": "shop-eu", "mariadb": "shop-us"}


def test_a_row_that_was_copied_from_another_database_is_refused(database):
    others = dict.fromkeys(ONE_REALM_EACH, "shop-other")
    with using(REALM=others):
        copied = enqueued(database, effects.record, "copied")
    with using(REALM=ONE_REALM_EACH):
        own = enqueued(database, effects.record, "own")
        drain(database)
        assert stored(own).method_args == ["own"]
    require_refused(copied)
    assert effects.seen == [("function", ("own",), {})]


def test_everything_goes_on_where_each_database_has_a_realm(database):
    with using(REALM=ONE_REALM_EACH, DATABASE=database):
        on = [call(flows.fetch, n).using(database=database) for n in range(2)]
        last = on[0].then(flows.increase).enqueue()
        broken = on[1].then(flows.refuse).catch(flows.report).enqueue_all()
        recurring("* * * * *", name="code", method_args=["ticked"], timezone="UTC")(effects.record)
        store = store_for(database)
        schedules.declare(store)
        minute = store.moment().replace(second=0, microsecond=0)
        store.schedules.update(next_tick=minute)
        drain(database)
        assert stored(last).status == "succeeded"
        assert broken
        (_, ending) = next(each for each in flows.noted if each[0] == "report")
        assert ending.message == "the stove is cold"
        assert effects.seen == [("function", ("ticked",), {})]
        assert [f.message for f in Failure.objects.using(database)] == ["the stove is cold"]
        assert store.schedules.get().arguments == Arguments("ticked")
        schedules.declare(store)
        assert store.schedules.count() == 1


def test_a_persons_schedule_is_of_the_realm_of_its_database(at_home):
    store = store_for(at_home)
    with using(REALM=ONE_REALM_EACH):
        row = Schedule(name="a", cron="@daily", timezone="UTC", target="tests.shop.effects.record")
        row._state.db = at_home
        row.seal(Arguments(1))
        store.put(row)
        assert store.schedules.get().arguments == Arguments(1)
        store.enqueue_now(row.pk)
        drain(at_home)
        assert effects.seen == [("function", (1,), {})]
    with using(REALM="another"), pytest.raises(Tampered):
        store.enqueue_now(row.pk)


def test_attempts_of_version_1_open_in_any_realm_until_they_are_sealed_anew(database):
    with using(CIPHER=FIRST):
        attempt = enqueued(database, effects.record, 1)
        assert Attempt.objects.using(database).get().args[:1] == b"\x01"
    with using(REALM="shop-production"):
        drain(database)
    assert stored(attempt).status == "succeeded"


def unbind(attempt):
    """Let it have been enqueued by a release that bound arguments to no prerequisites."""
    plaintext = open_sealed(stored(attempt).args, attempt.context("args"))
    before = plaintext[: plaintext.rindex(b",")] + b"]"
    put(attempt, args=cipher().encrypt(before, attempt.context("args")))
    return attempt


@pytest.mark.parametrize("name", [PLAIN, HEX])
def test_what_a_cipher_without_versions_stored_before_is_handed_over(database, name):
    """Nothing in the bytes says that an older release wrote them, and bound them to nothing."""
    with using(CIPHER=name):
        first = call(flows.fetch, 4).using(database=database)
        then = unbind(first.then(flows.increase, by=3).enqueue())
        drain(database)
        assert stored(then).status == "succeeded", stored(then).reason
    assert ("increase", 4) in flows.noted


def test_what_is_handed_over_is_bound_where_the_cipher_has_versions(database):
    first = call(flows.fetch, 4).using(database=database)
    then = unbind(first.then(flows.increase, by=3).enqueue())
    flows.noted.clear()
    drain(database)
    assert stored(then).status == "failed"
    assert [kind for kind, _ in flows.noted] == ["fetch"]
    assert kinds_of_failures(database) == ["integrity"]


@pytest.mark.parametrize("is_old", [True, False])
def test_what_was_stored_in_plain_is_bound_when_it_is_sealed(database, is_old):
    with using(CIPHER=PLAIN):
        then = call(flows.fetch, 4).using(database=database).then(flows.increase, by=3).enqueue()
        if is_old:
            unbind(then)
    store = store_for(database)
    targets = ["tests.shop.flows.fetch", "tests.shop.flows.increase"]
    plain = Plaintext(store.moment() + timedelta(minutes=1), targets)
    assert Resealer(store, plaintext=plain).reseal().sealed
    drain(database)
    assert stored(then).status == "succeeded", stored(then).reason

"""An attempt that is sealed with a key that this worker lacks waits for one that has it."""

from __future__ import annotations

import json
from base64 import b64encode
from collections import Counter
from datetime import timedelta
from io import StringIO
from unittest import mock

import pytest
from django.core.checks import Tags, run_checks
from django.core.management import call_command

from async_attempts import stats
from async_attempts.encryption.keys import Key
from async_attempts.exceptions import RetiredKey, UnknownKey
from async_attempts.lifecycle import Released
from async_attempts.store import PutOff, store_for
from async_attempts.worker.execution import missing_keys
from async_attempts.worker.execution.missing_keys import ALONE_FOR, HOUR, MOST_KEYS, MissingKeys
from async_attempts.worker.maintenance import maintenance
from async_attempts.worker.shared.registration import new_worker
from tests.shop import effects
from tests.store.rows import registered
from tests.worker.helpers.attempts import drain, enqueued, failures, make_due, put, states, stored

OTHER_KEY = b64encode(bytes(range(1, 33))).decode()
KEY_ID = Key(b64encode(bytes(range(32))).decode()).id.hex()
VAULT = "tests.shop.vault.Vault"
REASON = f"sealed with key {KEY_ID}, which ASYNC_ATTEMPTS['KEYS'] doesn't have"


@pytest.fixture
def with_keys(settings):
    """Sets the keys in force."""
    given = settings.ASYNC_ATTEMPTS

    def with_keys(*keys):
        settings.ASYNC_ATTEMPTS = {**given, "KEYS": list(keys) or given["KEYS"]}

    return with_keys


@pytest.fixture
def moment(monkeypatch):
    """The time by which attempts are put off."""
    moment = [1000.0]
    monkeypatch.setattr(missing_keys, "now", lambda: moment[0])
    return moment


def met(key_id="1a2b3c4d", uncounted=0):
    """A claim of an attempt that this key sealed, after so many that didn't count."""
    args = b"\x01" + bytes.fromhex(key_id) + bytes(40)
    return mock.Mock(args=args, claim_seq=3 + uncounted, num_attempts=3)


def claimed(store):
    """What a new worker claims of the queue."""
    return store.claim(registered(store).pk, ["default"], 10)


def test_it_is_released_with_its_count_and_never_failed(database, with_keys):
    attempt = enqueued(database, effects.record, 1, options={"max_attempts": 1})
    with_keys(OTHER_KEY)
    drain(database)
    attempt = stored(attempt)
    assert (attempt.state, attempt.num_attempts, attempt.claim_seq) == ("scheduled", 0, 1)
    assert (attempt.claimed_by, attempt.started_at) == (None, None)
    assert attempt.reason == REASON
    assert not failures(attempt)
    with_keys()
    make_due(attempt)
    drain(database)
    assert stored(attempt).status == "succeeded"
    assert effects.seen == [("function", (1,), {})]


def test_the_reason_is_gone_as_soon_as_somebody_claims_it(database, with_keys):
    attempt = enqueued(database, effects.record)
    with_keys(OTHER_KEY)
    drain(database)
    make_due(attempt)
    store = store_for(database)
    store.promote()
    assert stored(attempt).reason == REASON
    claimed(store)
    assert stored(attempt).reason == ""


def test_one_that_is_not_begun_after_all_keeps_no_reason_of_another_time(database, with_keys):
    attempt = enqueued(database, effects.record)
    put(attempt, reason=REASON)
    store = store_for(database)
    (claim,) = claimed(store)
    store.finish(claim.worker_id, [(claim, Released(60.0))])
    assert (stored(attempt).status, stored(attempt).reason) == ("scheduled", "")


def test_what_other_keys_sealed_is_performed_behind_any_number_of_them(database, with_keys):
    unknown = [enqueued(database, effects.record, options={"priority": 1}) for _ in range(12)]
    with_keys(OTHER_KEY)
    known = enqueued(database, effects.record)
    drain(database, batch_size=5)
    assert stored(known).status == "succeeded"
    # After the first batch, the others are left to workers that have the key.
    assert (
        sorted(stored(attempt).state for attempt in unknown) == ["pending"] * 7 + ["scheduled"] * 5
    )
    with_keys()
    drain(database)
    assert (
        sorted(stored(attempt).state for attempt in unknown)
        == ["scheduled"] * 5 + ["succeeded"] * 7
    )


def test_the_first_is_a_warning_and_the_others_are_counted(database, with_keys, caplog):
    for _ in range(7):
        enqueued(database, effects.record)
    with_keys(OTHER_KEY)
    drain(database, batch_size=3)
    assert states(database) == ["scheduled"] * 3 + ["pending"] * 4
    (warning,) = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert REASON in warning
    assert "put off for" in warning


def test_each_key_is_told_every_hour_with_the_number_met_meanwhile(moment, caplog):
    keys = MissingKeys()
    for _ in range(3 * 60):
        for name in ("1a2b3c4d", "5e6f7a8b"):
            keys.put_off(met(name), UnknownKey("no", name))
        moment[0] += 60
    told = [r.getMessage() for r in caplog.records if "1a2b3c4d" in r.getMessage()]
    numbers = [text.rpartition("(")[2].partition(" ")[0] for text in told]
    assert numbers == ["1", "60", "60"]
    assert len(caplog.records) == 2 * len(told)


BOUNDS = [60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, HOUR, HOUR, HOUR]


def test_it_is_put_off_longer_by_its_own_claims_up_to_an_hour(moment):
    keys = MissingKeys()
    unknown = UnknownKey("no", "1a2b3c4d")
    delays = []
    for number in range(9):
        delays.append(keys.put_off(met(uncounted=number), unknown).delay)
        # One that came later isn't put off for as long as the others.
        assert keys.put_off(met(), unknown).delay <= 60
        moment[0] += delays[-1]
    assert all(b / 2 <= delay <= b for delay, b in zip(delays, BOUNDS, strict=True)), delays
    # A counter that somebody set is no reason to come back at once.
    assert keys.put_off(met(uncounted=-2), unknown).delay >= 30


def test_snoozes_and_releases_before_a_key_was_missing_make_it_no_longer(moment):
    keys = MissingKeys()
    unknown = UnknownKey("no", "1a2b3c4d")
    snoozed = [keys.put_off(met(uncounted=number), unknown).delay for number in (0, 8, 500)]
    assert len(set(snoozed)) == 1
    assert 30 <= snoozed[0] <= 60
    moment[0] += 61
    assert 60 <= keys.put_off(met(uncounted=500), unknown).delay <= 120


def test_those_that_are_met_together_are_put_off_alike(moment):
    keys = MissingKeys()
    unknown = UnknownKey("no", "1a2b3c4d")
    assert len({keys.put_off(met(), unknown) for _ in range(20)}) == 1
    first = keys.put_off(met(), unknown)
    moment[0] += 61
    assert keys.put_off(met(), unknown) != first


def test_claims_pass_over_each_key_by_itself_ever_longer_up_to_an_hour(moment):
    keys = MissingKeys()
    lasted = []
    for _ in range(9):
        keys.put_off(met(), UnknownKey("no", "1a2b3c4d"))
        assert list(keys.passed_over) == [bytes.fromhex("011a2b3c4d")]
        began = moment[0]
        while keys.passed_over:
            moment[0] += 0.5
        lasted.append(moment[0] - began)
    assert all(b / 2 <= s <= b + 1 for s, b in zip(lasted, BOUNDS, strict=True)), lasted
    keys.put_off(met(), UnknownKey("no", "1a2b3c4d"))
    keys.put_off(met("5e6f7a8b"), UnknownKey("no", "5e6f7a8b"))
    assert len(keys.passed_over) == 2
    moment[0] += 61
    assert list(keys.passed_over) == [bytes.fromhex("011a2b3c4d")]


def test_a_key_that_is_there_is_never_passed_over(moment):
    """A result that is handed over may lack its key where the arguments don't."""
    keys = MissingKeys()
    assert keys.put_off(met(KEY_ID), UnknownKey("no", "1a2b3c4d")).delay >= 30
    assert not keys.passed_over


def test_of_a_ciphers_own_nothing_is_passed_over(moment, settings):
    settings.ASYNC_ATTEMPTS = settings.ASYNC_ATTEMPTS | {"CIPHER": VAULT}
    keys = MissingKeys()
    assert keys.put_off(met(), UnknownKey("no", "v3")).delay >= 30
    assert not keys.passed_over


def test_whoever_makes_up_key_ids_fills_neither_log_nor_memory(moment, caplog):
    keys = MissingKeys()
    for number in range(3 * MOST_KEYS):
        released = keys.put_off(met(f"{number:08x}", 4), UnknownKey("no", f"{number:08x}"))
        # Beyond the first ones each may be another: then only its own claims tell anything.
        assert released.delay >= (480 if number >= MOST_KEYS else 30)
    assert len(caplog.records) <= MOST_KEYS + 1
    assert len(keys.passed_over) == MOST_KEYS
    moment[0] += 2 * HOUR
    keys.put_off(met(), UnknownKey("no", "1a2b3c4d"))
    assert list(keys.passed_over) == [bytes.fromhex("011a2b3c4d")]


def test_an_id_of_a_ciphers_own_is_clipped(moment):
    released = MissingKeys().put_off(met(), UnknownKey("no", "x" * 5000 + "\0"))
    assert len(released.reason) < 200
    assert (
        MissingKeys().put_off(met(), UnknownKey("no")).reason.startswith("sealed with key unnamed")
    )


def test_stats_tell_how_many_wait_for_which_key(database, with_keys):
    for _ in range(3):
        enqueued(database, effects.record)
    later = enqueued(database, effects.record)
    put(later, reason="sealed with key none, which ASYNC_ATTEMPTS['KEYS'] doesn't have")
    ended = enqueued(database, effects.record)
    ended.fail("sealed with key 1a2b3c4d, which ASYNC_ATTEMPTS['KEYS'] doesn't have")
    assert dict(stats(database=database).missing_keys) == {"none": 1}
    with_keys(OTHER_KEY)
    drain(database)
    assert dict(stats(database=database).missing_keys) == {KEY_ID: 4}
    out = StringIO()
    call_command("attempts", "stats", database=database, stdout=out)
    assert f"4 attempts wait for the key {KEY_ID}, which a worker did not have." in out.getvalue()
    out = StringIO()
    call_command("attempts", "stats", "--json", database=database, stdout=out)
    assert json.loads(out.getvalue())["missing_keys"] == {KEY_ID: 4}


def test_stats_count_what_claims_pass_over(database, with_keys):
    for _ in range(7):
        enqueued(database, effects.record)
    with_keys(OTHER_KEY)
    drain(database, batch_size=3)
    assert states(database) == ["scheduled"] * 3 + ["pending"] * 4
    enqueued(database, effects.record)
    assert dict(stats(database=database).missing_keys) == {KEY_ID: 7}


def test_a_retired_key_is_missing_to_a_worker_and_says_so(database, with_keys, settings, caplog):
    attempt = enqueued(database, effects.record, 1)
    old = settings.ASYNC_ATTEMPTS["KEYS"][0]
    with_keys(OTHER_KEY, f"retired:{old}")
    with pytest.raises(RetiredKey, match=f"{KEY_ID}, which is retired"):
        stored(attempt).method_args  # noqa: B018 - reading it opens it
    (warning,) = checked(database)
    assert f"{KEY_ID}, which is retired" in warning.msg
    assert "rotate-keys" in warning.hint
    drain(database)
    attempt = stored(attempt)
    assert (attempt.state, attempt.num_attempts) == ("scheduled", 0)
    assert attempt.reason == (
        f"sealed with key {KEY_ID}, which is retired: see manage.py attempts rotate-keys"
    )
    assert attempt.reason in caplog.text
    assert dict(stats(database=database).missing_keys) == {KEY_ID: 1}
    call_command("attempts", "rotate-keys", database=database, stdout=StringIO())
    make_due(attempt)
    drain(database)
    assert effects.seen == [("function", (1,), {})]
    assert checked(database) == []


def checked(database):
    found = run_checks(tags=[Tags.database], databases=[database])
    return [message for message in found if message.id == "async_attempts.W006"]


def test_a_check_of_the_database_tells_of_rows_that_no_key_opens(database, with_keys):
    one, two = enqueued(database, effects.record), enqueued(database, effects.record)
    enqueued(database, effects.record, options={"scheduled_at": 3600})
    ended = enqueued(database, effects.record)
    ended.fail("no")
    assert checked(database) == []
    with_keys(OTHER_KEY)
    enqueued(database, effects.record)
    (warning,) = checked(database)
    assert KEY_ID in warning.msg
    assert "3 " in warning.msg
    one.delete()
    two.expire()
    with_keys()
    (warning,) = checked(database)
    assert KEY_ID not in warning.msg
    assert "1 " in warning.msg


def test_a_database_that_is_not_asked_for_is_not_asked(database, with_keys):
    enqueued(database, effects.record)
    with_keys(OTHER_KEY)
    messages = run_checks(tags=[Tags.database], databases=[])
    assert not [m for m in messages if m.id == "async_attempts.W006"]


@pytest.fixture
def at_once(monkeypatch):
    """What no worker can open is put off together as soon as it is met."""
    monkeypatch.setattr(missing_keys, "ALONE_FOR", 0.0)


@pytest.mark.usefixtures("at_once")
def test_what_no_worker_can_open_is_put_off_together(database, with_keys):
    unknown = [enqueued(database, effects.record, options={"priority": 1}) for _ in range(12)]
    with_keys(OTHER_KEY)
    known = enqueued(database, effects.record)
    drain(database, batch_size=5)
    assert stored(known).status == "succeeded"
    rows = [stored(attempt) for attempt in unknown]
    assert {(row.state, row.reason, row.claim_seq, row.num_attempts) for row in rows} == {
        ("scheduled", REASON, 1, 0)
    }
    assert dict(stats(database=database).missing_keys) == {KEY_ID: 12}
    with_keys()
    for attempt in unknown:
        make_due(attempt)
    drain(database)
    assert {stored(attempt).status for attempt in unknown} == {"succeeded"}


@pytest.mark.usefixtures("at_once")
def test_what_was_put_off_together_comes_at_once_when_it_is_sealed_anew(
    database, with_keys, settings
):
    for _ in range(12):
        enqueued(database, effects.record)
    old = settings.ASYNC_ATTEMPTS["KEYS"][0]
    with_keys(OTHER_KEY)
    drain(database, batch_size=5)
    assert states(database) == ["scheduled"] * 12
    with_keys(OTHER_KEY, old)
    call_command("attempts", "rotate-keys", database=database, stdout=StringIO())
    drain(database)
    assert states(database) == ["succeeded"] * 12


@pytest.mark.usefixtures("at_once")
def test_what_an_other_live_worker_can_open_is_left_to_it(database, with_keys):
    unknown = [enqueued(database, effects.record) for _ in range(12)]
    able = new_worker(queues=["default"])
    store_for(database).register(able, 60.0)
    with_keys(OTHER_KEY)
    drain(database, batch_size=5)
    assert (
        sorted(stored(attempt).state for attempt in unknown) == ["pending"] * 7 + ["scheduled"] * 5
    )


def test_they_are_put_off_together_once_workers_that_start_together_had_the_time(moment):
    keys = MissingKeys()
    header = bytes.fromhex("011a2b3c4d")
    delay = keys.put_off(met(), UnknownKey("no", "1a2b3c4d")).delay
    assert keys.together == {}
    moment[0] += ALONE_FOR
    [(found, way)] = keys.together.items()
    assert (found, way.delay) == (header, delay)
    assert way.reason == "sealed with key 1a2b3c4d, which ASYNC_ATTEMPTS['KEYS'] doesn't have"
    moment[0] += delay
    # Then claims try one again.
    assert keys.together == {}
    longer = keys.put_off(met(uncounted=1), UnknownKey("no", "1a2b3c4d")).delay
    assert keys.together == {header: Released(longer, way.reason)}


def test_what_others_can_open_is_never_put_off_for_long(moment):
    keys = MissingKeys()
    header = bytes.fromhex("011a2b3c4d")
    for number in range(9):
        moment[0] += keys.put_off(met(uncounted=number), UnknownKey("no", "1a2b3c4d")).delay
    keys.note_put_off([header], PutOff(Counter(), {header}))
    # This wasn't about that key.
    keys.note_put_off([b"\x01abcd"], PutOff(Counter(), set()))
    assert keys.put_off(met(uncounted=9), UnknownKey("no", "1a2b3c4d")).delay <= 60
    keys.note_put_off([header], PutOff(Counter(), set()))
    assert keys.put_off(met(uncounted=9), UnknownKey("no", "1a2b3c4d")).delay >= 1800


def test_those_that_are_put_off_together_are_counted_and_told(moment, caplog):
    counted: Counter[str] = Counter()
    keys = MissingKeys(lambda key_id, number: counted.update({key_id: number}))
    header = bytes.fromhex("011a2b3c4d")
    keys.put_off(met(), UnknownKey("no", "1a2b3c4d"))
    keys.note_put_off([header], PutOff(Counter({header: 2000}), set()))
    assert counted == {"1a2b3c4d": 2001}
    moment[0] += HOUR
    keys.put_off(met(), UnknownKey("no", "1a2b3c4d"))
    assert "(2001 since this was last told)" in caplog.records[-1].getMessage()


def test_what_was_put_off_while_a_worker_came_is_brought_back_later(database, monkeypatch):
    clock = mock.Mock(return_value=1000.0)
    monkeypatch.setattr(maintenance, "now", clock)
    chores = maintenance.Maintenance(store_for(database))
    chores.begin()
    chores.tick(has_late_workers=False, late_at=0.0)
    attempt = enqueued(database, effects.record, 1, options={"scheduled_at": timedelta(minutes=50)})
    put(attempt, reason=REASON)
    chores.tick(has_late_workers=False, late_at=0.0)
    assert stored(attempt).reason == REASON
    clock.return_value += maintenance.RETURN_AGAIN
    assert chores.tick(has_late_workers=False, late_at=0.0)
    assert (stored(attempt).reason, store_for(database).promote()) == ("", 1)

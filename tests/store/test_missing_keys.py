"""What no live worker has the key of is put off together, and brought back by one that has."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import transaction

from async_attempts.encryption import HEADER_BYTES
from async_attempts.lifecycle import Released, Status
from async_attempts.models import Worker
from async_attempts.store import Cursor, missing_keys
from async_attempts.store.expressions import seconds_from_now
from async_attempts.store.missing_keys import reason_for, reason_for_form
from async_attempts.store.rotation import Resealer

from .malformed import put_raw
from .rows import (
    LEASE,
    a_moment,
    enqueued,
    every_column,
    let_lease_run_out,
    multiply,
    one_in_each_state,
    put,
    row,
)
from .test_plans import TABLE, observed, used

HEADER = b"\x02'%\\\x00"
KEY_ID = HEADER[1:].hex()
NEWER = b"\x07abcd"
REASON = reason_for(KEY_ID)
CAUSES = {HEADER: Released(600.0, REASON)}


def forge(store, attempt, header=HEADER, **columns):
    put(store, attempt, args=header + bytes(attempt.args)[HEADER_BYTES:], **columns)


def a_worker(store, *opens, queues=("default",)):
    worker = Worker(host="host", pid=1, name="w", queues=list(queues), opens=list(opens))
    store.workers.register(worker, LEASE)
    return worker


def put_off(store, causes=CAUSES, queues=("default",)):
    return dict(store.missing_keys.put_off(causes, queues).numbers)


@pytest.mark.parametrize("crashes", [0, 1])
def test_only_what_is_due_and_has_the_header_is_put_off(store, worker, crashes):
    attempts = one_in_each_state(store, worker)
    later = enqueued(store, scheduled_at=timedelta(hours=1))
    other_queue = enqueued(store, queue="emails")
    for attempt in (*attempts.values(), *later, *other_queue):
        forge(store, attempt, num_crashes=crashes)
    enqueued(store)
    before = {one["id"]: one for one in every_column(store)}
    assert put_off(store) == {HEADER: 1}
    after = {one["id"]: one for one in every_column(store)}
    changed = after.pop(attempts["pending"].pk)
    was = before.pop(changed["id"])
    assert after == before
    delay = (changed["scheduled_at"] - store.database.now()).total_seconds()
    assert 590 < delay <= 600
    put_off_columns = {
        "status": Status.SCHEDULED,
        "reason": REASON,
        "scheduled_at": changed["scheduled_at"],
        # A claim and its release in one, so that the row's own history grows.
        "claim_seq": was["claim_seq"] + 1,
    }
    assert changed == was | put_off_columns


def test_a_claim_then_finds_what_was_behind_them_first(store, worker):
    for attempt in enqueued(store, 5, priority=9):
        forge(store, attempt)
    [healthy] = enqueued(store)
    assert put_off(store) == {HEADER: 5}
    assert [claim.id for claim in store.claims.claim(worker.pk, ["default"], 10)] == [healthy.pk]
    assert store.missing_keys.count() == {KEY_ID: 5}


@pytest.mark.parametrize("opens", ["", HEADER.hex()])
def test_what_a_live_worker_of_the_queue_opens_is_left_to_it(store, opens):
    for queue in ("default", "emails"):
        [attempt] = enqueued(store, queue=queue)
        forge(store, attempt)
    able = a_worker(store, "03", opens)
    found = store.missing_keys.put_off(CAUSES, ["default", "emails"])
    assert (found.opened, dict(found.numbers)) == ({HEADER}, {HEADER: 1})
    assert not store.database.attempts.exclude(queue="emails").exclude(status="pending").exists()
    # After an outage every lease has run out.
    let_lease_run_out(store, able)
    assert put_off(store) == {}
    store.database.workers.filter(pk=able.pk).update(state="dead")
    assert put_off(store) == {HEADER: 1}


@pytest.mark.parametrize("opens", [False, 3, {"a": 1}, [None, 1, ["02"]], "02"])
def test_whatever_stands_in_a_workers_row_is_no_error(store, opens):
    able = a_worker(store)
    store.database.workers.filter(pk=able.pk).update(opens=opens)
    [attempt] = enqueued(store)
    forge(store, attempt)
    assert put_off(store) == {HEADER: 1}


def test_what_others_lock_or_have_sealed_anew_is_passed_over(store, sessions, monkeypatch):
    locked, sealed_anew, free = enqueued(store, 3)
    ours = bytes(sealed_anew.args)
    for attempt in (locked, sealed_anew, free):
        forge(store, attempt)
    session = sessions()
    session.begin()
    session.do(lambda: list(store.database.attempts.filter(pk=locked.pk).select_for_update()))
    head = type(store.missing_keys)._at_the_head

    def then_sealed(self, *arguments):
        found = head(self, *arguments)
        if store.database.connection.vendor != "sqlite":
            put(store, sealed_anew, args=ours)
        return found

    monkeypatch.setattr(type(store.missing_keys), "_at_the_head", then_sealed)
    if store.database.connection.vendor == "sqlite":
        # There one writer excludes all others.
        session.commit()
        put(store, locked, claimed_by=a_worker(store).pk)
        put(store, sealed_anew, args=ours)
    assert put_off(store) == {HEADER: 1}
    assert row(store, free).status == "scheduled"
    if store.database.connection.vendor != "sqlite":
        session.commit()


def test_no_more_at_a_time_than_one_statement_takes(store, monkeypatch):
    monkeypatch.setattr(missing_keys, "PUT_OFF_AT_ONCE", 4)
    for number, attempt in enumerate(enqueued(store, 7)):
        forge(store, attempt, num_crashes=int(number > 2))
    assert [put_off(store) for _ in range(3)] == [{HEADER: 4}, {HEADER: 3}, {}]


def test_what_is_behind_the_head_is_left_for_later(store, worker, monkeypatch):
    monkeypatch.setattr(missing_keys, "PUT_OFF_AT_ONCE", 4)
    first = enqueued(store, 4)
    [behind] = enqueued(store)
    forge(store, behind)
    assert put_off(store) == {}
    # What others open stands before it for long: a claim passes over that, too.
    for attempt in first:
        forge(store, attempt, NEWER)
    a_worker(store, NEWER.hex())
    assert put_off(store, CAUSES | {NEWER: Released(60.0, reason_for_form("format 7"))}) == {
        HEADER: 1
    }


def test_each_header_waits_for_its_own_time_with_its_own_reason(store):
    one, two = enqueued(store, 2)
    forge(store, one)
    forge(store, two, NEWER)
    newer = {NEWER: Released(60.0, reason_for_form("format 7"))}
    assert put_off(store, CAUSES | newer) == {HEADER: 1, NEWER: 1}
    assert row(store, two).reason == "stored in a form that this release doesn't know: format 7"
    assert row(store, two).scheduled_at < row(store, one).scheduled_at
    assert store.missing_keys.count() == {KEY_ID: 1, "format 7": 1}


def test_the_place_that_one_was_woken_for_is_the_next_ones(store):
    woken, waiting = enqueued(store, 2, limit_key="a", concurrency=1)
    forge(store, woken)
    put(store, waiting, status="waiting")
    assert put_off(store) == {HEADER: 1}
    assert row(store, waiting).status == "pending"


@pytest.mark.parametrize(
    ("reason", "header", "comes"),
    [
        (REASON, HEADER, True),
        (reason_for(KEY_ID, is_retired=True), HEADER, True),
        (reason_for_form("format 7"), NEWER, True),
        # For the key of a result that it is handed, say.
        (reason_for_form("unknown parts"), HEADER, True),
        (reason_for("1a2b3c4d"), HEADER, True),
        ("", HEADER, False),
        (REASON, b"\x02abcd", False),
    ],
    ids=["key", "retired", "format", "parts", "other key", "put off by itself", "other header"],
)
def test_one_that_has_the_key_brings_back_what_waits_for_it(store, reason, header, comes):
    opens = [HEADER.hex(), NEWER.hex()]
    [attempt] = enqueued(store, scheduled_at=timedelta(minutes=50))
    forge(store, attempt, header, reason=reason)
    assert store.missing_keys.bring_back(["02ffffffff"], 3600) == (0, None)
    assert row(store, attempt).scheduled_at > store.database.now()
    assert store.missing_keys.bring_back(opens, 3600) == (int(comes), None)
    assert store.claims.promote() == int(comes)
    assert row(store, attempt).reason == ("" if comes else reason)


def test_under_a_projects_own_cipher_all_that_waits_for_a_key_comes(store):
    waiting, snoozed = enqueued(store, 2, scheduled_at=timedelta(minutes=50))
    put(store, waiting, reason=reason_for(""))
    assert store.missing_keys.bring_back([""], 3600) == (1, None)
    assert row(store, snoozed).scheduled_at > store.database.now()


@pytest.mark.only("sqlite", reason="the others have a type for a column")
@pytest.mark.parametrize(
    "column", [{"args": "'text'"}, {"reason": f"CAST(x'{REASON.encode().hex()}ff' AS TEXT)"}]
)
def test_whatever_stands_in_what_waits_is_no_error(store, column):
    waiting, bad = enqueued(store, 2, scheduled_at=timedelta(minutes=50))
    for attempt in (waiting, bad):
        forge(store, attempt, reason=REASON)
    put_raw(store.database.alias, bad.pk, **column)
    assert store.missing_keys.bring_back([HEADER.hex()], 3600)[0] in (1, 2)
    assert row(store, waiting).reason == ""


def test_it_looks_no_further_ahead_than_anything_is_put_off(store, monkeypatch):
    monkeypatch.setattr(missing_keys, "SEEN_AT_ONCE", 2)
    attempts = enqueued(store, 7)
    for number, attempt in enumerate(attempts):
        later = seconds_from_now(60 + number * 1000)
        forge(store, attempt, status="scheduled", scheduled_at=later, reason=REASON)
    place: Cursor | None = None
    found = []
    for _ in range(5):
        number, place = store.missing_keys.bring_back([HEADER.hex()], 3600, after=place)
        found.append(number)
        if place is None:
            break
    assert found == [2, 2, 2]
    assert row(store, attempts[-1]).reason == REASON


def test_what_others_lock_is_brought_back_by_nobody(store, sessions):
    if store.database.connection.vendor == "sqlite":
        pytest.skip("one writer excludes all others")
    one, two = enqueued(store, 2, scheduled_at=timedelta(minutes=50))
    for attempt in (one, two):
        forge(store, attempt, reason=REASON)
    session = sessions()
    session.begin()
    session.do(lambda: list(store.database.attempts.filter(pk=one.pk).select_for_update()))
    assert store.missing_keys.bring_back([HEADER.hex()], 3600) == (1, None)
    session.commit()
    assert row(store, two).reason == ""


@pytest.fixture
def a_dirty_head(store):
    """Many rows of a missing key before a few others."""
    [healthy], [one] = enqueued(store), enqueued(store, priority=9)
    forge(store, one)
    multiply(store, one, 20_000, scheduled_at=a_moment("-n", store))
    multiply(store, healthy, 1_000)
    with store.database.connection.cursor() as cursor:
        analyze = {"mysql": "ANALYZE TABLE"}.get(store.database.connection.vendor, "ANALYZE")
        cursor.execute(f"{analyze} {TABLE}")
        if store.database.connection.vendor == "mysql":
            cursor.fetchall()


@pytest.mark.slow
@pytest.mark.usefixtures("a_dirty_head")
def test_they_are_found_by_the_claim_index_and_changed_by_their_ids(store, worker):
    found, sent = observed(store, lambda: store.missing_keys.put_off(CAUSES, ["default"]))
    assert found.numbers == {HEADER: missing_keys.PUT_OFF_AT_ONCE}
    heads = [one for one in sent if ") head" in one[0]]
    assert used(store, heads) - {None} == {"aa_attempt_claim"}
    changes = [one for one in sent if ") head" not in one[0] and " AND " in one[0]]
    assert len(changes) == 2
    # PostgreSQL also finds rows by their ids in the smaller of two indexes.
    smaller = {"aa_attempt_claim"} if store.database.connection.vendor == "postgresql" else set()
    assert used(store, changes) <= {"PRIMARY", *smaller}


@pytest.mark.slow
@pytest.mark.usefixtures("a_dirty_head")
def test_the_head_becomes_clean_a_batch_at_a_time(store, worker):
    batches = 0
    while put_off(store):
        batches += 1
    assert batches == 20_001 // missing_keys.PUT_OFF_AT_ONCE + 1
    assert len(store.claims.claim(worker.pk, ["default"], 500)) == 500
    with transaction.atomic(store.database.alias):
        assert store.missing_keys.count() == {KEY_ID: 20_001}


@pytest.mark.only("sqlite", reason="the others have a type for a column")
def test_a_text_in_a_sealed_column_is_read_as_bytes(store, worker):
    bad, good = enqueued(store, 2)
    put_raw(store.database.alias, bad.pk, args="'text'", result="'text'")
    assert row(store, bad).args == b"text"
    assert {claim.args[:4] for claim in store.claims.claim(worker.pk, ["default"], 2)} > {b"text"}
    # The key of the other is counted; what has no header has no key.
    assert sum(store.missing_keys.sample(10).values()) == 2
    found = Resealer(store).reseal()
    assert [one.where for one in found.unreadable] == [
        f"attempt {bad.pk}: args",
        f"attempt {bad.pk}: result",
    ]
    forge(store, good, reason=REASON)
    store.database.attempts.update(claimed_by=None)
    assert store.missing_keys.count() == {KEY_ID: 1}

"""Guarantee 10: no open transaction, lock, frozen process or dead host of somebody else stops a
worker's loop, or makes a duplicate.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from unittest import mock

import pytest
from django.db import connections, transaction

from async_attempts import Attempt, call
from async_attempts.calls import enqueue_many
from async_attempts.models import Worker
from tests.faults.conftest import has_connections
from tests.faults.fleet import all_have_ended, live_pids, rows, started, stopped
from tests.shop import hazards
from tests.store.sessions import Session
from tests.worker.helpers.attempts import enqueued, stored
from tests.worker.helpers.processes import until

pytestmark = [pytest.mark.slow, has_connections]

TABLE = Attempt._meta.db_table
LEASE = 1.5
QUEUES = {"default": {}, "emails": {}, "fulfilment": {"concurrency": 5}}


def impatient() -> None:
    """A loop that is silent for three seconds is taken to be stuck."""
    mock.patch("async_attempts.worker.processes.child_slot.STUCK_AFTER", 3.0).start()


@pytest.fixture
def caller(database: str) -> Iterator[Session]:
    """A caller in a thread of its own."""
    caller = Session(database)
    yield caller
    caller.close()


def lock_row(database: str, attempt: Attempt) -> None:
    """As a view does that changes it, and goes on for a while."""
    attempt.request_cancel()
    rows(database).select_for_update().get(pk=attempt.pk)


def has_come_to(database: str, number: int) -> bool:
    """Whether so many have succeeded."""
    return bool(rows(database).filter(status="succeeded").count() == number)


def test_an_open_transaction_that_changed_one_holds_up_no_other(database, mortals, book, caller):
    begun = enqueued(database, hazards.wait_at_first, book.path, book.go)
    book.promise([begun])
    worker = started(mortals, database, "--threads=2", prepare=impatient)
    until(book.traces, worker)
    caller.begin()
    caller.do(lock_row, database, begun)
    book.let_go()
    until(lambda: book.traces("ended"), worker)
    children = live_pids(database)
    for number in range(1, 6):
        others = enqueue_many([call(hazards.leave_traces, book.path).using(database=database)] * 20)
        book.promise(others)
        until(partial(has_come_to, database, number * 20))
    assert stored(begun).state == "running"
    caller.commit()
    until(lambda: all_have_ended(database), worker)
    assert stored(begun).status == "succeeded"
    assert live_pids(database) == children
    assert not rows(database).filter(claim_seq__gt=1).exists()
    stopped(worker)
    book.balance()


@contextmanager
def locked_table(caller: Session) -> Iterator[None]:
    """As a migration's `CREATE INDEX` does: reads go on, writes wait."""
    if connections[caller.alias].vendor == "postgresql":
        caller.begin()
        caller.execute(f"LOCK TABLE {TABLE} IN SHARE MODE")
        yield
        caller.commit()
    else:
        caller.execute(f"LOCK TABLES {TABLE} READ")
        yield
        caller.execute("UNLOCK TABLES")


def test_a_lock_on_the_table_ends_no_process(database, mortals, book, caller):
    begun = enqueued(database, hazards.wait_at_first, book.path, book.go)
    worker = started(mortals, database, "--threads=2", prepare=impatient)
    until(book.traces, worker)
    unbegun = enqueue_many([call(hazards.leave_traces, book.path).using(database=database)] * 20)
    until(lambda: len(book.traces("ended")) == 20, worker)
    book.promise([begun, *unbegun])
    children = live_pids(database)
    with locked_table(caller):
        book.let_go()
        until(lambda: "another transaction locks what this worker is to write" in worker.output)
        ticked = worker.output.count("took back")
        # Longer than what is taken for a stuck loop, though each single wait has an end.
        until(lambda: waited(caller.alias) > 8, worker)
    until(lambda: all_have_ended(database), worker)
    assert worker.output.count("took back") == ticked
    assert live_pids(database) == children
    assert not rows(database).filter(num_crashes__gt=0).exists()
    stopped(worker)
    book.balance()


def waited(database: str) -> float:
    """Seconds since the caller has locked the table."""
    with connections[database].cursor() as cursor:
        if connections[database].vendor == "postgresql":
            cursor.execute(
                "SELECT COALESCE(EXTRACT(EPOCH FROM max(clock_timestamp() - xact_start)), 0) "
                "FROM pg_stat_activity WHERE state = 'idle in transaction' "
                "AND datname = current_database()"
            )
        else:
            cursor.execute(
                "SELECT COALESCE(max(time_ms), 0) / 1000 FROM information_schema.processlist "
                "WHERE db = DATABASE() AND command = 'Sleep' AND info IS NULL"
            )
        return float(cursor.fetchone()[0])


SLOW_CLAIMS = {
    "postgresql": (
        f"""
        CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF NEW.queue = 'fulfilment' AND OLD.claimed_by IS NULL AND NEW.claimed_by IS NOT NULL
            THEN PERFORM pg_sleep(1); END IF;
            RETURN NEW;
        END $$;
        CREATE TRIGGER dawdle BEFORE UPDATE ON {TABLE} FOR EACH ROW EXECUTE FUNCTION dawdle()
        """,
        "DROP FUNCTION dawdle CASCADE",
        (
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' "
            "AND datname = current_database()"
        ),
        (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
            "AND state = 'idle in transaction'"
        ),
    ),
    "mysql": (
        f"""
        CREATE TRIGGER dawdle BEFORE UPDATE ON {TABLE} FOR EACH ROW
        IF NEW.queue = 'fulfilment' AND OLD.claimed_by IS NULL AND NEW.claimed_by IS NOT NULL
        THEN DO SLEEP(1); END IF
        """,
        "DROP TRIGGER dawdle",
        (
            "SELECT count(*) FROM information_schema.processlist "
            "WHERE db = DATABASE() AND state = 'User sleep'"
        ),
        (
            "SELECT count(*) FROM information_schema.innodb_trx t JOIN "
            "information_schema.processlist p ON p.id = t.trx_mysql_thread_id "
            "WHERE p.db = DATABASE() AND p.command = 'Sleep'"
        ),
    ),
}
"""Let claims of one queue take a second, put that back, and count the sessions that are at it, and
those that have left a transaction open.
"""


@pytest.fixture
def slow_claims(database: str) -> Iterator[None]:
    """A claim of the queue `fulfilment` takes a second."""
    begin, end, *_ = SLOW_CLAIMS[connections[database].vendor]
    with connections[database].cursor() as cursor:
        cursor.execute(begin)
        yield
        cursor.execute(end)


def count(database: str, number: int) -> int:
    with connections[database].cursor() as cursor:
        cursor.execute(SLOW_CLAIMS[connections[database].vendor][number])
        return int(cursor.fetchone()[0])


@pytest.mark.usefixtures("slow_claims")
def test_a_host_that_freezes_within_a_claim_is_rescued(database, mortals, book):
    """The transaction that it leaves locks its own row, and its queue for everybody."""
    mortals.settings |= {"LEASE": LEASE, "QUEUES": QUEUES}
    begun = enqueued(database, hazards.wait_at_first, book.path, book.never)
    frozen = started(mortals, database, "--threads=2", "--name=frozen")
    until(book.traces, frozen)
    claimed = enqueued(database, hazards.leave_traces, book.path, options={"queue": "fulfilment"})
    book.promise([begun, claimed])
    until(lambda: count(database, 2), frozen)
    frozen.freeze_group()
    until(lambda: not count(database, 2))
    heir = started(mortals, database, "--threads=2")
    until(lambda: all_have_ended(database), heir)
    assert Worker.objects.using(database).get(name="frozen").state == "rescued"
    assert {stored(attempt).status for attempt in (begun, claimed)} == {"succeeded"}
    stopped(heir)
    frozen.kill_group()
    book.balance()


def test_a_caller_that_locks_the_rows_of_workers_stops_none(database, mortals, book, caller):
    """As the deletion of a worker's row in a view that goes on for a while."""
    worker = started(mortals, database, "--threads=2", prepare=impatient)
    until(lambda: live_pids(database), worker)
    children = live_pids(database)
    caller.begin()
    caller.do(lambda: list(Worker.objects.using(database).select_for_update()))
    until(lambda: "another transaction locks what this worker is to write" in worker.output
          or "the lease could not be renewed" in worker.output, worker)  # fmt: skip
    with transaction.atomic(database):
        attempt = enqueued(database, hazards.leave_traces, book.path)
    book.promise([attempt])
    caller.rollback()
    until(lambda: all_have_ended(database), worker)
    stopped(worker)
    assert children
    book.balance()

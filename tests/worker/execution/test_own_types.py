"""Values of a project's own types go through workers: as arguments, as results, by every way in."""

from __future__ import annotations

import logging
from decimal import Decimal
from pathlib import Path
from unittest import mock

import pytest

from async_attempts import (
    Attempt,
    call,
    emit,
    enqueue_many,
    enqueue_stream,
    gather,
    recurring,
    schedules,
)
from async_attempts.exceptions import UnknownType, UnsupportedType
from async_attempts.payload.registry import registry
from async_attempts.store import store_for
from async_attempts.store.expressions import seconds_from_now
from tests.roof.admin_pages import OneDatabase
from tests.shop import effects, flows, listeners
from tests.shop.invoices import (
    Coordinates,
    Invoice,
    Line,
    Money,
    State,
    file_invoice,
    post_invoice,
)
from tests.worker.helpers.attempts import drain, enqueued, failures, make_due, performed, stored

CANARY = "c4n4ry-in-the-mine"


def invoice(number: int = 7) -> Invoice:
    return Invoice(
        number=number,
        lines=[Line("tea", Money(Decimal("3.50")), [Line("leaves", Money(Decimal(1), "INR"))])],
        scan=Path("/scans/7.pdf"),
    )


def unregistered(*names: str):
    """As in a process of an older release, which lacks these types."""
    return mock.patch.dict(
        registry.by_name,
        {name: one for name, one in registry.by_name.items() if name not in names},
        clear=True,
    )


def test_a_dataclass_and_a_path_are_performed_and_returned(database, tmp_path):
    attempt = performed(
        database,
        file_invoice,
        invoice(),
        tmp_path,
        at=Coordinates(1.5, 2.5),
        options={"keep_result": True},
    )
    assert attempt.status == "succeeded"
    text = (tmp_path / "7.txt").read_text()
    assert text.startswith(repr(invoice()))
    assert "Coordinates object" in text
    paid = invoice()
    paid.state = State.PAID
    assert attempt.result(timeout=1) == paid
    assert attempt.method_args.args == (invoice(), tmp_path)


@pytest.mark.slow
def test_a_worker_has_them_by_importing_the_target(database, workers, tmp_path):
    attempt = enqueued(database, file_invoice, invoice(), tmp_path)
    worker = workers.start(f"--database={database}", "--drain")
    assert worker.exit_code() == 0
    assert stored(attempt).status == "succeeded"
    assert (tmp_path / "7.txt").exists()


def test_a_result_is_handed_over(database, tmp_path):
    first = call(file_invoice, invoice(), tmp_path).using(database=database)
    first.then(post_invoice, tmp_path).enqueue()
    drain(database)
    assert "State.PAID" in (tmp_path / "7.posted").read_text()


def test_many_and_streams_take_them(database, tmp_path):
    calls = [call(file_invoice, invoice(n), tmp_path).using(database=database) for n in range(3)]
    enqueue_many(calls)
    more = range(3, 6)
    enqueue_stream(lambda n: call(file_invoice, invoice(n), tmp_path), more, 10, database=database)
    drain(database)
    assert len(list(tmp_path.glob("*.txt"))) == 6


def test_listeners_are_called_with_them(database, settings, tmp_path):
    settings.DATABASE_ROUTERS = [OneDatabase(database)]
    emit("shop.order.invoiced", invoice=invoice(), folder=tmp_path)
    drain(database)
    heard = [given for name, given in listeners.heard if name == "keep_journal"]
    listeners.heard.clear()
    [(event, payload, _)] = heard
    assert (event, payload) == (
        "shop.order.invoiced",
        {"invoice": invoice(), "folder": tmp_path},
    )


def test_a_schedule_has_them(at_home, monkeypatch, tmp_path):
    monkeypatch.setattr(schedules, "_in_code", {})
    recurring("0 0 1 1 *", name="yearly", method_args=[invoice(), tmp_path])(file_invoice)
    store = store_for(at_home)
    schedules.declare(store)
    store.database.schedules.update(next_tick=seconds_from_now(-1))
    drain(at_home)
    assert (tmp_path / "7.txt").exists()


def test_what_is_not_registered_is_refused_and_nothing_is_written(database):
    class Foo:
        def __repr__(self) -> str:
            return CANARY

    with pytest.raises(
        UnsupportedType, match=r"kwargs\.also\.lines\[0\]: Foo .*storable"
    ) as caught:
        enqueued(database, effects.record, also={"lines": [Foo()]})
    assert CANARY not in str(caught.value)
    assert not Attempt.objects.using(database).exists()


def test_a_worker_of_an_older_release_leaves_it_for_the_newer_one(database, tmp_path, caplog):
    value = invoice()
    value.lines[0].text = CANARY
    attempt = enqueued(database, effects.record, value, tmp_path)
    with unregistered("shop.Money"), caplog.at_level(logging.DEBUG):
        drain(database)
    row = stored(attempt)
    assert (row.state, row.num_attempts, effects.seen) == ("scheduled", 1, [])
    (failure,) = failures(attempt)
    assert failure.kind == "unknown target"
    assert "No type is registered as 'shop.Money'" in failure.message
    assert CANARY not in failure.message + failure.traceback + caplog.text + row.reason
    make_due(attempt)
    drain(database)
    assert stored(attempt).status == "succeeded"
    assert effects.seen == [("function", (value, tmp_path), {})]


def test_a_type_that_no_worker_gets_fails_in_the_end(database):
    attempt = enqueued(database, effects.record, invoice(), options={"max_attempts": 1})
    with unregistered("shop.Money"):
        drain(database)
    row = stored(attempt)
    assert (row.status, row.error_class) == ("failed", "async_attempts.exceptions.UnknownType")
    assert row.reason == "attempts exhausted: 1 of 1"


def test_who_waits_learns_how_it_ended_without_the_type_of_the_result(database, tmp_path):
    attempt = performed(database, file_invoice, invoice(), tmp_path, options={"keep_result": True})
    other = enqueued(database, flows.refuse)
    drain(database)
    with unregistered("shop.Money"):
        [ending, _] = gather(attempt, other, until="settled", timeout=10)
        assert ending.succeeded
        with pytest.raises(UnknownType, match=r"shop\.Money"):
            _ = ending.result
        with pytest.raises(UnknownType):
            attempt.result(timeout=1)

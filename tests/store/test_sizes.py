"""No query of the ORM fetches a value that is too large; what comes in its place says so."""

from __future__ import annotations

from typing import Any

import pytest
from django.apps import apps
from django.db import connections
from django.db.models import BinaryField, Count, F, JSONField, Max, TextField

from async_attempts import Attempt, call
from async_attempts.exceptions import InvalidArguments, InvalidOption
from async_attempts.lifecycle import Error
from async_attempts.models import Failure, Schedule, Worker, sealed_details
from async_attempts.models.fields import DigestField
from async_attempts.models.large_values import fetched
from async_attempts.payload import Arguments
from async_attempts.payload.limits import MAX_DETAILS_BYTES, MAX_REASON_BYTES
from async_attempts.store import store_for
from async_attempts.store.insert import Insert
from async_attempts.worker.execution.outcomes import error_of
from tests.shop import clients
from tests.store.large import LARGE, TOLD, json_of, marked, octets, peak_below, text, write
from tests.store.malformed import without_checks
from tests.store.rows import claim_of, enqueued, failure_of, registered

MIB = 2**20
COLUMNS = [
    (Attempt, "args"),
    (Attempt, "sealed_result"),
    (Attempt, "reason"),
    (Attempt, "cancel_reason"),
    (Attempt, "on_ended"),
    (Attempt, "metadata"),
    (Failure, "details"),
    (Schedule, "args"),
    (Schedule, "options"),
    (Worker, "queues"),
    (Worker, "opens"),
]
NAMES = [f"{model.__name__}.{column}" for model, column in COLUMNS]


@pytest.fixture
def store(database):
    with without_checks(database):
        yield store_for(database)


def row_of(store: Any, model: Any) -> Any:
    if model is Worker:
        return registered(store)
    if model is Schedule:
        row = Schedule(
            name="weekly", cron="@weekly", timezone="UTC", target="tests.shop.clients.greet"
        )
        row.seal(Arguments(7))
        store.schedules.put(row)
        return row
    [attempt] = enqueued(store)
    if model is Attempt:
        return attempt
    return failure_of(attempt)


def expression(store: Any, field: Any, size: int) -> str:
    if isinstance(field, BinaryField):
        return octets(store.database.alias, b"\x02", size)
    return (json_of if isinstance(field, JSONField) else text)(store.database.alias, size)


def large(store: Any, model: Any, column: str, size: int = LARGE) -> Any:
    """A row whose column has so many bytes; the queryset of it alone."""
    row, field = row_of(store, model), model._meta.get_field(column)
    write(store.database.alias, row, **{field.column: expression(store, field, size)})
    return model._base_manager.using(store.database.alias).filter(pk=row.pk)


def stand_in(field: Any) -> Any:
    return b"\xff" + TOLD.encode() if isinstance(field, BinaryField) else TOLD


def plain(value: Any) -> Any:
    return bytes(value) if isinstance(value, memoryview) else value


def test_every_column_of_any_length_is_measured():
    """A column that is added without a limit fails here."""
    lengthy = {
        (model, field.name)
        for model in apps.get_app_config("async_attempts").get_models()
        for field in model._meta.concrete_fields
        if isinstance(field, TextField | BinaryField | JSONField)
        and not isinstance(field, DigestField)
    }
    assert lengthy == set(COLUMNS)
    fields: list[Any] = [model._meta.get_field(column) for model, column in COLUMNS]
    assert all(field.most_bytes < 3 * MIB for field in fields)


@pytest.mark.parametrize(("model", "column"), COLUMNS, ids=NAMES)
def test_what_is_too_large_is_not_fetched_by_any_query(store, model, column):
    rows, expected = large(store, model, column), stand_in(model._meta.get_field(column))
    with peak_below(MIB):
        found = [
            getattr(rows.get(), column),
            getattr(rows.defer(column).get(), column),
            rows.values_list(column, flat=True).get(),
            rows.annotate(again=F(column)).values_list("again", flat=True).get(),
        ]
        row = rows.get()
        row.refresh_from_db()
        found.append(getattr(row, column))
    assert [plain(value) for value in found] == [expected] * 5


@pytest.mark.parametrize(("model", "column"), COLUMNS, ids=NAMES)
def test_what_is_at_the_limit_is_fetched(store, model, column):
    field = model._meta.get_field(column)
    rows = large(store, model, column, field.most_bytes)
    around = 2 if isinstance(field, JSONField) else 0
    assert len(getattr(rows.get(), column)) == field.most_bytes - around
    larger = expression(store, field, field.most_bytes + 1)
    write(store.database.alias, rows.get(), **{field.column: larger})
    assert "too large" in str(plain(getattr(rows.get(), column)))


def test_a_group_or_an_aggregate_of_it_is_not_fetched_either(store):
    rows = large(store, Attempt, "reason")
    with peak_below(MIB):
        assert list(rows.values("reason").annotate(n=Count("pk")).values_list("reason", "n")) == [
            (TOLD, 1)
        ]
        assert rows.aggregate(most=Max("reason")) == {"most": TOLD}


def test_a_part_of_it_is_not_fetched_either(store):
    [attempt] = enqueued(store)
    value = json_of(store.database.alias)
    form = {
        "postgresql": "jsonb_build_object('k', {})",
        "mysql": "json_object('k', {})",
        "sqlite": "json_object('k', {})",
    }[store.database.connection.vendor]
    write(store.database.alias, attempt, metadata=form.format(value.partition("(")[2][:-1]))
    with peak_below(MIB):
        [part] = store.database.attempts.values_list("metadata__k", flat=True)
    assert part.endswith(" bytes: too large to show")


@pytest.mark.only("sqlite", reason="the others hold bytes in a column of bytes")
def test_a_text_of_sqlite_is_measured_past_its_first_nul(store):
    [attempt] = enqueued(store)
    hidden = f"'x' || char(0) || {text(store.database.alias)}"
    write(store.database.alias, attempt, args=hidden, reason=hidden)
    with peak_below(MIB):
        row = store.database.attempts.get()
        claims = store.claims.claim(registered(store).pk, ["default"], 10)
    assert row.reason == "12,000,002 bytes: too large to show"
    assert [claim.args for claim in claims] == [None]


def test_the_winner_of_a_token_is_read_without_it(store, monkeypatch):
    """MariaDB reads it once more by a statement of its own, which locks."""
    made = (
        call(clients.greet, 1).using(database=store.database.alias, idempotence_token="t").enqueue()
    )
    write(
        store.database.alias,
        made,
        args=octets(store.database.alias, b"\x02"),
        reason=text(store.database.alias),
    )
    key = store.database.attempts.values_list("unique_key", flat=True).get()
    with peak_below(MIB):
        seen = [store.attempts.inserts.with_key(bytes(key))]
        if store.database.connection.vendor == "mysql":
            # As where the plain statement doesn't see it.
            monkeypatch.setattr(Insert, "with_key", lambda *_: None)
            seen.append(store.attempts.inserts.with_key(bytes(key)))
    assert {row.reason for row in seen} == {TOLD}
    assert {row.idempotence_token for row in seen} == {"t"}


@pytest.mark.parametrize(
    ("column", "read"), [("args", "method_args"), ("sealed_result", "stored_result")]
)
def test_what_was_not_fetched_is_told_and_never_saved(store, column, read):
    row = large(store, Attempt, column).get()
    with pytest.raises(InvalidArguments, match=f"{row.pk} have|has {LARGE} bytes"):
        getattr(row, read)
    with pytest.raises(InvalidArguments, match="too large to be fetched"):
        store.database.attempts.update(**{column: getattr(row, column)})


def test_a_schedule_that_was_not_fetched_is_not_written_back(store):
    row = large(store, Schedule, "args").get()
    with pytest.raises(InvalidArguments, match="isn't saved"):
        store.schedules.put(row)
    row.seal(Arguments(8))
    store.schedules.put(row)
    assert store.database.schedules.get().arguments == Arguments(8)


def test_metadata_that_were_not_fetched_are_not_saved(store):
    row = large(store, Attempt, "metadata").get()
    with pytest.raises(InvalidOption, match="metadata"):
        row.save()


@pytest.mark.parametrize("verb", ["expire", "fail"])
def test_a_reason_has_a_limit(store, verb):
    first, second = enqueued(store, 2)
    getattr(first, verb)("é" * (MAX_REASON_BYTES // 2))
    assert first.reason == "é" * (MAX_REASON_BYTES // 2)
    with pytest.raises(InvalidOption, match="reason: has 16,386 bytes"):
        getattr(second, verb)("é" * (MAX_REASON_BYTES // 2 + 1))


def test_the_largest_record_of_an_error_is_fetched(store):
    """Of a character beyond the basic plane JSON makes 12 bytes."""
    [attempt] = enqueued(store)
    worst = error_of(claim_of(store, attempt), ValueError("\U0001f600" * 50_000))
    assert isinstance(worst, Error)
    message, trace = "\U0001f600" * 8_192, "\U0001f600" * 32_768
    sealed = sealed_details(message, trace, attempt.context("error", 1))
    assert len(worst.details) <= len(sealed) <= MAX_DETAILS_BYTES


def test_stats_take_no_large_reason_for_a_key(store):
    [attempt] = enqueued(store)
    write(store.database.alias, attempt, reason=marked(store.database.alias, "sealed with key "))
    with peak_below(MIB):
        assert store.missing_keys.count() == {}


@pytest.mark.only("mariadb", reason="others have no character set of a column")
@pytest.mark.parametrize(
    "characters", ["latin1", "utf8mb3", "utf8mb4", "utf8mb4 COLLATE utf8mb4_bin"]
)
def test_what_is_too_large_is_told_in_any_character_set(store, characters):
    with connections[store.database.alias].cursor() as cursor:
        cursor.execute(f"CREATE TEMPORARY TABLE lengthy (text LONGTEXT CHARACTER SET {characters})")
        cursor.execute("INSERT INTO lengthy VALUES ('a text'), ('12345')")
        cursor.execute(f"SELECT {fetched('mysql', 'TextField', 'text', 5)} FROM lengthy")
        found = cursor.fetchall()
        cursor.execute("DROP TABLE lengthy")
    assert found == (("6 bytes: too large to show",), ("12345",))

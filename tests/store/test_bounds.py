"""The tables' checks: what no worker could read or count up is refused by the database."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.core.exceptions import ValidationError
from django.db import DatabaseError, connections

from async_attempts import Attempt
from async_attempts.exceptions import InvalidOption
from async_attempts.models import (
    DatabaseNow,
    Dependency,
    Failure,
    Queue,
    Schedule,
    Slot,
    Tally,
    Worker,
)
from async_attempts.models.bounds import MAX_METADATA_BYTES

from .malformed import NO_NUMBER, put_raw, refused_moments
from .rows import enqueued, put, registered, row

FIRST = datetime(1, 1, 1, tzinfo=UTC)
LAST = datetime.max.replace(tzinfo=UTC)
MOMENTS = "scheduled_at expires_at created_at started_at".split()


def refused(database, key, model=Attempt, **columns):
    with pytest.raises(DatabaseError, match=r"(?i)aa_\w+_(bounds|ids)|out of range|overflow"):
        put_raw(database, key, model, **columns)


@pytest.mark.parametrize("column", MOMENTS)
def test_a_moment_that_python_cannot_read_is_refused(store, column):
    [attempt] = enqueued(store)
    for value in refused_moments(store.database.alias):
        refused(store.database.alias, attempt.pk, **{column: value})


def test_the_end_of_an_attempt_is_a_moment(store):
    [attempt] = enqueued(store)
    for value in refused_moments(store.database.alias):
        refused(store.database.alias, attempt.pk, status="'failed'", completed_at=value)


@pytest.mark.parametrize("column", MOMENTS)
@pytest.mark.parametrize("moment", [FIRST, LAST, datetime(2024, 2, 29, 23, 59, 59, 999999, UTC)])
def test_every_moment_that_python_can_read_is_taken(store, column, moment):
    [attempt] = enqueued(store)
    put(store, attempt, **{column: moment})
    assert getattr(row(store, attempt), column) == moment


@pytest.mark.parametrize("column", sorted(NO_NUMBER))
def test_a_number_that_cannot_be_counted_up_is_refused(store, column):
    [attempt] = enqueued(store)
    for value in NO_NUMBER[column]:
        refused(store.database.alias, attempt.pk, **{column: value})


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("num_attempts", 2**31 - 2),
        ("max_attempts", 1),
        ("claim_seq", 2**62),
        ("concurrency", 10_000),
        ("timeout", 1e-9),
    ],
)
def test_the_last_numbers_are_taken(store, column, value):
    [attempt] = enqueued(store)
    put(store, attempt, **{column: value})
    assert getattr(row(store, attempt), column) == value


@pytest.mark.only("postgresql", reason="the others have no NaN in a column")
def test_a_timeout_is_a_number(store):
    [attempt] = enqueued(store)
    for value in ("'NaN'", "'Infinity'", "'-Infinity'"):
        refused(store.database.alias, attempt.pk, timeout=value)


@pytest.mark.only("sqlite", reason="the others have a type for ids, or refuse what is longer")
@pytest.mark.parametrize(
    "value",
    [
        "'5'",
        f"'{'A' * 32}'",
        f"x'{'61' * 32}'",
        f"'{'a' * 31}' || char(0)",
        f"'{'a' * 32}' || char(0) || 'x'",
    ],
)
def test_an_id_has_32_small_characters(store, worker, value):
    [attempt] = enqueued(store)
    refused(store.database.alias, attempt.pk, id=value)
    refused(store.database.alias, attempt.pk, claimed_by=value)
    refused(store.database.alias, worker.pk, Worker, id=value)


@pytest.mark.parametrize(
    ("model", "columns", "given"),
    [
        (Worker, "lease started_at", {"host": "h", "pid": 1, "lease": LAST}),
        (
            Schedule,
            "next_tick last_tick last_skipped declared_at until",
            {"name": "s", "cron": "* * * * *", "timezone": "UTC", "target": "t", "args": b""},
        ),
        (Queue, "tokens_at", {"name": "q"}),
        (Tally, "minute", {"minute": LAST, "queue": "q", "target": "t", "outcome": "failed"}),
    ],
)
def test_the_moments_of_the_other_tables_are_checked(store, model, columns, given):
    one = model(**given)
    model._base_manager.using(store.database.alias).bulk_create([one])
    key = one.pk.hex() if isinstance(one.pk, bytes) else one.pk
    for column in columns.split():
        for value in refused_moments(store.database.alias):
            with pytest.raises(DatabaseError, match="bounds"):
                _put_everywhere(store, model, column, value)
    assert key


def _put_everywhere(store, model, column, value):
    quote = store.database.connection.ops.quote_name
    with store.database.connection.cursor() as cursor:
        if store.database.connection.vendor == "mysql":
            cursor.execute("SET @before = @@sql_mode, sql_mode = 'STRICT_ALL_TABLES'")
        try:
            cursor.execute(f"UPDATE {quote(model._meta.db_table)} SET {quote(column)} = {value}")
        finally:
            if store.database.connection.vendor == "mysql":
                cursor.execute("SET sql_mode = @before")


def test_the_moments_of_a_failure_are_checked(store):
    [attempt] = enqueued(store)
    Failure._base_manager.using(store.database.alias).create(
        attempt=attempt, number=1, kind="error", error_class="E", details=b"", failed_at=LAST
    )
    for column in ("started_at", "failed_at"):
        for value in refused_moments(store.database.alias):
            with pytest.raises(DatabaseError, match="aa_failure_bounds"):
                _put_everywhere(store, Failure, column, value)


@pytest.mark.only("sqlite", reason="the others have a type for ids")
def test_the_ids_of_the_other_tables_are_checked(store):
    first, second = enqueued(store, 2)
    edges = Dependency._base_manager.using(store.database.alias)
    edges.create(attempt=first, prerequisite=second, condition="any")
    Slot._base_manager.using(store.database.alias).create(number=1)
    for model, column in (
        (Dependency, "attempt_id"),
        (Dependency, "prerequisite_id"),
        (Dependency, "cause"),
        (Slot, "attempt_id"),
    ):
        with pytest.raises(DatabaseError, match="_ids"):
            _put_everywhere(store, model, column, "'no id'")


def metadata_of(size):
    """Metadata that take so many bytes as JSON."""
    return {"k": "x" * (size - len('{"k": ""}'))}


def test_metadata_have_a_limit(store):
    [attempt] = enqueued(store, metadata=metadata_of(MAX_METADATA_BYTES))
    assert row(store, attempt).metadata == metadata_of(MAX_METADATA_BYTES)
    with pytest.raises(
        InvalidOption, match=r"metadata: takes 16,385 bytes as JSON, more than 16,384"
    ):
        enqueued(store, metadata=metadata_of(MAX_METADATA_BYTES + 1))
    too_large = f"""'{{"k": "{"x" * MAX_METADATA_BYTES}"}}'"""
    refused(store.database.alias, attempt.pk, metadata=too_large)


@pytest.mark.parametrize(
    "metadata",
    [
        {"k": "é" * 2_700},
        {"k": [1e300] * 54},
        {"k": [5e-324] * 48},
        {"k": [{"n": 1e22}] * 400},
        {"k": list(range(2_900))},
        {"k": {str(number): "" for number in range(1_300)}},
    ],
)
def test_what_is_taken_as_metadata_is_stored_everywhere(store, metadata):
    [attempt] = enqueued(store, metadata=metadata)
    stored = row(store, attempt).metadata
    assert stored == metadata or {"k": [float(n) for n in stored["k"]]} == metadata


def test_numbers_among_metadata_count_as_they_are_written_out(store):
    with pytest.raises(InvalidOption, match="metadata: takes "):
        enqueued(store, metadata={"k": [1e300] * 60})


def test_a_row_that_is_right_is_valid(store):
    [attempt] = enqueued(store, metadata={"k": [1, 2.5]}, timeout=3)
    row(store, attempt).validate_constraints()
    schedule = Schedule(name="s", cron="* * * * *", timezone="UTC", target="t", args=b"")
    schedule._state.db = store.database.alias
    schedule.validate_constraints()
    registered(store).validate_constraints()


def test_a_row_that_is_not_right_is_not_valid(store):
    [attempt] = enqueued(store)
    attempt = row(store, attempt)
    attempt.timeout = -1.0
    with pytest.raises(ValidationError, match="aa_attempt_bounds"):
        attempt.validate_constraints()


def test_the_checks_are_those_of_the_migration(store):
    with store.database.connection.cursor() as cursor:
        found = connections[store.database.alias].introspection.get_constraints(
            cursor, Attempt._meta.db_table
        )
    checks = {name for name, constraint in found.items() if constraint["check"]}
    assert "aa_attempt_bounds" in checks
    has_type = store.database.connection.features.has_native_uuid_field
    assert ("aa_attempt_ids" in checks) is not has_type
    put(store, enqueued(store)[0], started_at=DatabaseNow())

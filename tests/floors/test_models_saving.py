"""What `save()` may change in a row that exists, and what a stale copy can't; columns' marks."""

from __future__ import annotations

from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext

from async_attempts import Attempt, InvalidOption, InvalidTransition, call
from async_attempts.ids import uuid7
from async_attempts.models import AbstractAttempt
from async_attempts.models.fields import Mark, marked
from async_attempts.store.claimed import COLUMNS
from tests.shop import clients
from tests.shop.models import Order

MOMENT = datetime(2099, 1, 2, 3, 4, 5, tzinfo=UTC)
FIELDS = {field.attname: field for field in AbstractAttempt._meta.concrete_fields}


def enqueued(database: str, **options: Any) -> Any:
    return call(clients.send_welcome, 1).using(database=database, **options).enqueue()


def stored(row: Any) -> Any:
    return Attempt.objects.using(row._state.db).get(pk=row.pk)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("queue", "emails"),
        ("priority", -7),
        ("max_attempts", 3),
        ("timeout", 1.5),
        ("expires_at", MOMENT),
        ("metadata", {"trace": ["a", 1]}),
    ],
)
def test_how_it_is_performed_may_change(database: str, column: str, value: Any):
    row = stored(enqueued(database))
    setattr(row, column, value)
    row.save()
    assert getattr(stored(row), column) == value


def test_the_row_that_was_enqueued_may_be_saved_too(database: str):
    row = enqueued(database)
    row.priority = "high"
    row.timeout = timedelta(minutes=1)
    row.save()
    assert (stored(row).priority, stored(row).timeout) == (50, 60)


def test_the_subject_may_change(database: str):
    first, second = [Order.objects.using(database).create(number=number) for number in (1, 2)]
    row = stored(enqueued(database, subject=first))
    row.subject = second
    row.save()
    assert stored(row).subject == second
    row.subject = None
    row.save(update_fields=["subject"])
    assert stored(row).subject is None


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("queue", "parcels"),
        ("priority", 101),
        ("priority", "urgent"),
        ("max_attempts", 0),
        ("timeout", -1),
        ("expires_at", datetime(2099, 1, 1)),  # noqa: DTZ001 naive, so wrong
        ("metadata", {"a": {1}}),
    ],
)
def test_a_wrong_value_is_refused_by_its_name_and_not_written(
    database: str, column: str, value: Any
):
    row = stored(enqueued(database))
    before = getattr(row, column)
    setattr(row, column, value)
    with pytest.raises(InvalidOption, match=column):
        row.save()
    assert getattr(stored(row), column) == before


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("id", uuid7()),
        ("target", clients.OrderClient),
        ("target_pk", "1"),
        ("method_name", "shout"),
        ("args", b"other"),
        ("method_args", [2]),
        ("idempotence_token", "other"),
        ("created_at", MOMENT),
    ],
)
def test_a_changed_promise_is_refused_by_its_name(database: str, column: str, value: Any):
    row = stored(enqueued(database))
    setattr(row, column, value)
    with pytest.raises(InvalidOption, match=column):
        row.save()
    assert Attempt.objects.using(database).get().method_args == [1]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("status", "succeeded"),
        ("reason", "because"),
        ("num_attempts", 1),
        ("claim_seq", 1),
        ("claimed_by", uuid7()),
        ("scheduled_at", MOMENT),
        ("completed_at", MOMENT),
        ("error_class", "ValueError"),
    ],
)
def test_changed_state_is_refused_by_its_name(database: str, column: str, value: Any):
    row = stored(enqueued(database))
    before = getattr(row, column)
    setattr(row, column, value)
    with pytest.raises(InvalidTransition, match=rf"{column}.*retry\(\)"):
        row.save()
    assert getattr(stored(row), column) == before


@pytest.mark.parametrize("verb", ["expire", "fail", "perform"])
def test_a_stale_copy_can_not_reopen_an_ended_attempt(database: str, verb: str):
    row = enqueued(database)
    stale = stored(row)
    getattr(row, verb)()
    stale.priority = 9
    stale.save()
    now = stored(row)
    assert (now.state, now.priority) == (row.state, 9)
    assert now.completed_at == row.completed_at is not None
    assert now.claim_seq == row.claim_seq


def test_only_the_update_fields_are_written(database: str):
    row = stored(enqueued(database))
    row.priority, row.max_attempts = 9, 9
    row.save(update_fields=["priority"])
    assert (stored(row).priority, stored(row).max_attempts) == (9, None)


def test_update_fields_can_not_name_what_is_no_column(database: str):
    row = stored(enqueued(database))
    with pytest.raises(ValueError, match="prioritty"):
        row.save(update_fields=["prioritty"])


@pytest.mark.parametrize("column", ["status", "method_name"])
def test_update_fields_open_no_way_to_promise_or_state(database: str, column: str):
    row = stored(enqueued(database))
    setattr(row, column, "failed")
    with pytest.raises((InvalidOption, InvalidTransition), match=column):
        row.save(update_fields=[column])
    assert getattr(stored(row), column) != "failed"


def test_a_deferred_row_writes_what_was_set(database: str):
    row = Attempt.objects.using(database).only("id").get(pk=enqueued(database).pk)
    row.queue = "emails"
    row.save()
    assert (stored(row).queue, stored(row).priority) == ("emails", 0)


def test_a_deferred_row_that_was_not_changed_is_not_read_to_be_saved(database: str):
    row = Attempt.objects.using(database).only("id").get(pk=enqueued(database).pk)
    with CaptureQueriesContext(connections[database]) as queries:
        row.save()
    assert not queries.captured_queries


@pytest.mark.parametrize(
    ("column", "value", "error"),
    [("status", "failed", InvalidTransition), ("method_name", "shout", InvalidOption)],
)
def test_a_change_is_noticed_in_a_deferred_row_too(
    database: str, column: str, value: str, error: type[Exception]
):
    row = Attempt.objects.using(database).only("id").get(pk=enqueued(database).pk)
    setattr(row, column, value)
    assert row.queue == "default"  # reads a deferred column, and only that one
    with pytest.raises(error, match=column):
        row.save()
    assert getattr(stored(row), column) != value


def test_refreshing_forgets_a_refused_change(database: str):
    row = stored(enqueued(database))
    row.method_args = [2]
    row.status = "failed"
    with pytest.raises(InvalidOption, match="method_args"):
        row.save()
    row.refresh_from_db()
    assert row.method_args == [1]
    row.priority = 5
    row.save()
    assert (stored(row).priority, stored(row).status) == (5, "pending")


def test_refreshing_one_column_forgives_no_other(database: str):
    row = stored(enqueued(database))
    row.status = "failed"
    row.refresh_from_db(fields=["queue"])
    with pytest.raises(InvalidTransition, match="status"):
        row.save()


def test_a_queryset_that_was_refreshed_sees_what_a_verb_did(database: str):
    row, other = enqueued(database), None
    other = stored(row)
    row.expire("too late")
    other.refresh_from_db()
    assert (other.state, other.reason) == ("expired", "too late")
    other.save()
    assert stored(row).state == "expired"


@pytest.mark.parametrize(
    "values",
    [
        {"status": "succeeded"},
        {"completed_at": MOMENT},
        {"blockers": 1},
        {"status": "scheduled", "claimed_by": uuid7()},
        {"status": "waiting", "claimed_by": uuid7()},
    ],
)
def test_the_database_refuses_states_that_can_not_be(database: str, values: Any):
    from django.db import IntegrityError

    row = enqueued(database)
    with pytest.raises(IntegrityError):
        Attempt.objects.using(database).update(**values)
    assert stored(row).state == "pending"


def test_no_column_is_promise_and_state():
    assert not {*marked(Attempt, Mark.PROMISE)} & {*marked(Attempt, Mark.STATE)}


def test_what_can_be_saved_is_chosen_by_the_caller_or_is_the_subject():
    guarded = marked(Attempt, Mark.PROMISE | Mark.STATE)
    chosen = {*marked(Attempt, Mark.CHOSEN)}
    assert {*FIELDS} - {*guarded} - chosen == {"subject_type", "subject_id"}


def test_what_ciphertexts_are_bound_to_never_changes():
    assert {*marked(Attempt, Mark.BOUND)} <= {*marked(Attempt, Mark.PROMISE)}


def test_the_columns_of_a_claim_are_the_models():
    assert {*COLUMNS} <= {*FIELDS}


@pytest.mark.parametrize("name", FIELDS)
def test_a_model_of_the_project_inherits_them_and_a_migration_does_not_show_them(name: str):
    field = FIELDS[name]
    assert vars(deepcopy(field)).get("marks") == vars(field).get("marks")
    assert "marks" not in vars(field.clone())

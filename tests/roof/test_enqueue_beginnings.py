"""Every attempt begins at the beginning, with arguments of its own."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from async_attempts import Attempt, DuplicateAttempt, InvalidOption, call, enqueue
from async_attempts.ids import uuid7
from tests.shop.clients import greet, send_welcome
from tests.shop.unsaved import new_attempt


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("status", "succeeded"),
        ("num_attempts", 3),
        ("claim_seq", 7),
        ("claimed_by", UUID(int=1)),
        ("reason", "because"),
    ],
)
@pytest.mark.django_db
def test_state_cant_be_given(column: str, value: Any) -> None:
    with pytest.raises(InvalidOption, match=f"^{column}: state can't be given"):
        Attempt.objects.create(target=send_welcome, method_args=[1], **{column: value})
    assert not Attempt.objects.exists()


@pytest.mark.django_db
def test_a_copied_row_needs_its_arguments_anew() -> None:
    copy = Attempt.objects.get(pk=enqueue(send_welcome, 1).pk)
    copy.pk, copy._state.adding = uuid7(), True
    with pytest.raises(InvalidOption, match="method_args"):
        copy.save()


@pytest.mark.django_db
def test_metadata_may_spell_a_nul() -> None:
    attempt = call(send_welcome, 1).using(metadata={"regex": r"\u0000"}).enqueue()
    attempt.refresh_from_db()
    assert attempt.metadata == {"regex": r"\u0000"}


def test_what_was_refused_can_be_corrected_and_written(database: str):
    row = new_attempt(target=greet, method_args=[1], priority=1000, scheduled_at=timedelta(hours=1))
    with pytest.raises(InvalidOption, match="priority"):
        row.save(using=database)
    row.priority = 1
    row.save(using=database)
    stored = Attempt.objects.using(database).get()
    assert (stored.priority, stored.status, stored.method_args) == (1, "scheduled", [1])


def test_after_a_duplicate_the_row_can_be_written_with_another_token(database: str):
    call(greet, 1).using(database=database, idempotence_token="a").enqueue()
    row = new_attempt(
        target=greet,
        method_args=[1],
        idempotence_token="a",
        scheduled_at=timedelta(hours=1),
        expires_at=timedelta(hours=2),
    )
    with pytest.raises(DuplicateAttempt):
        row.save(using=database)
    row.idempotence_token = "b"
    row.save(using=database)
    stored: Any = Attempt.objects.using(database).get(idempotence_token="b")
    assert stored.status == row.status == "scheduled"
    assert stored.expires_at - stored.scheduled_at == pytest.approx(
        timedelta(hours=1), abs=timedelta(minutes=1)
    )

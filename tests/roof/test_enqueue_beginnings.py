"""Every attempt begins at the beginning, with arguments of its own."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from async_attempts import Attempt, InvalidOption, call, enqueue
from async_attempts.ids import uuid7
from tests.shop.clients import send_welcome


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

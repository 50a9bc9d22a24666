"""The marks of an attempt's columns say what may become of their values."""

from __future__ import annotations

from copy import deepcopy

import pytest

from async_attempts import Attempt
from async_attempts.models import AbstractAttempt
from async_attempts.models.fields import Mark, marked
from async_attempts.store.claimed import COLUMNS

FIELDS = {field.attname: field for field in AbstractAttempt._meta.concrete_fields}


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

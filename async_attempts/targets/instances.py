"""Find a model's row again, where the project's routers keep it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.core.exceptions import ObjectDoesNotExist, ValidationError
from django.db import router

from async_attempts.exceptions import ObjectGone

if TYPE_CHECKING:
    from django.db.models import Model


def load_instance(model: type[Model], pk: object, database: str | None) -> Model:
    """The row as it is now, read where the routers would write it, else from `database`.

    Not from a replica, which may lag behind the enqueueing transaction. Raises ObjectGone if there
    is no such row.
    """
    alias = router.db_for_write(model, instance=_probe(model, pk, database))
    try:
        return model._base_manager.using(alias).get(pk=pk)
    except ObjectDoesNotExist as error:
        raise gone(model, pk) from error


def load_by_text(model: type[Model], pk_text: str, database: str | None) -> Model:
    """`load_instance` by the primary key's text, as its field's `value_to_string` makes it."""
    try:
        pk = model._meta.pk.to_python(pk_text)
        return load_instance(model, pk, database)
    except (ObjectGone, ValidationError, ValueError, TypeError) as error:
        raise gone(model, pk_text) from error


def gone(model: type[Model], pk: object) -> ObjectGone:
    """The error for a row that isn't there."""
    label = model._meta.label
    return ObjectGone(f"{label} with primary key {pk!r} does not exist any more.", label)


def _probe(model: type[Model], pk: object, database: str | None) -> Model:
    """An instance that lets the routers decide as they would for the one to be read."""
    probe = model(pk=pk)
    probe._state.db = database
    probe._state.adding = False
    return probe

"""Find a model's row again where the project's routers keep it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from django.core.exceptions import ValidationError
from django.db import router
from django.db.models.base import ModelState

from .exceptions import ObjectGone

if TYPE_CHECKING:
    from django.db.models import Model


def load_instance(model: type[Model], pk: object, database: str | None) -> Model:
    """Return the row as it is now, read where the routers would write it, else from `database`.

    Not from a replica, which may lag behind the enqueueing transaction. Raises ObjectGone if there
    is no such row.
    """
    alias = router.db_for_write(model, instance=_probe(model, pk, database))
    rows: Any = model._base_manager.using(alias)
    try:
        return cast("Model", rows.get(pk=pk))
    except rows.model.DoesNotExist as error:
        raise _gone(model, pk) from error


def load_by_text(model: type[Model], pk_text: str, database: str | None) -> Model:
    """Return the row with this primary key, given as its field's `value_to_string` makes it.

    Raises ObjectGone, also for text that is no primary key.
    """
    try:
        pk = model._meta.pk.to_python(pk_text)
        return load_instance(model, pk, database)
    except (ObjectGone, ValidationError, ValueError, TypeError) as error:
        raise _gone(model, pk_text) from error


def _gone(model: type[Model], pk: object) -> ObjectGone:
    label = model._meta.label
    return ObjectGone(f"{label} with primary key {pk!r} does not exist any more.", label)


def _probe(model: type[Model], pk: object, database: str | None) -> Model:
    """Return an instance for the routers, which decide as they would for the stored one.

    Made without `__init__`: a project's own may read what only a stored row has.
    """
    probe = model.__new__(model)
    probe._state = ModelState()
    probe._state.db, probe._state.adding = database, False
    columns = probe.__dict__
    for field in model._meta.concrete_fields:
        columns[field.attname] = None if field.generated else field.get_default()
    probe.pk = pk
    return probe

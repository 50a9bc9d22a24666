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

    `pk`: the primary key, or its text. Not from a replica, which may lag behind the enqueueing
    transaction. Raises ObjectGone if there is no such row.
    """
    gone = f"There is no {model._meta.label} with the primary key {str(pk)!r}."
    try:
        pk = model._meta.pk.to_python(pk)
    except (ValidationError, ValueError) as error:
        raise ObjectGone(gone) from error
    alias = router.db_for_write(model, instance=_probe(model, pk, database))
    try:
        return model._base_manager.using(alias).get(pk=pk)
    except ObjectDoesNotExist as error:
        raise ObjectGone(gone) from error


def _probe(model: type[Model], pk: object, database: str | None) -> Model:
    """An instance that lets the routers decide as they would for the one to be read."""
    probe = model(pk=pk)
    probe._state.db = database
    probe._state.adding = False
    return probe

"""Find a model's row again where the project's routers keep it."""

from __future__ import annotations

from typing import Any, cast

from django.apps import apps
from django.core.exceptions import ValidationError
from django.db import router
from django.db.models import Model
from django.db.models.base import ModelState

from .exceptions import InvalidOption, ObjectGone


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


def label_and_pk(instance: Any) -> tuple[str | None, str | None]:
    """Return the label of its model and its primary key as text, for `load_by_label`.

    None is (None, None). Raises InvalidOption for anything but a saved instance.
    """
    if instance is None:
        return None, None
    if not isinstance(instance, Model) or instance._state.adding or instance.pk is None:
        raise InvalidOption("subject: must be a saved model instance or None.")
    return instance._meta.label_lower, instance._meta.pk.value_to_string(instance)


def load_by_label(label: str | None, pk_text: str | None, database: str | None) -> Model | None:
    """Return the row of a model's label ("app.model") and a primary key; None if there is none."""
    if label is None or pk_text is None:
        return None
    try:
        return load_by_text(apps.get_model(label), pk_text, database)
    except (LookupError, ObjectGone):
        return None


def is_there(label: str, pk_text: str, database: str | None) -> bool:
    """Return True if there is a row of a model's label ("app.model") and a primary key.

    Raises InvalidOption if this process doesn't have the model, or no such primary key can be.
    """
    try:
        model = apps.get_model(label)
        pk = model._meta.pk.to_python(pk_text)
    except (LookupError, ValidationError, ValueError, TypeError) as error:
        raise InvalidOption(
            f"subject: {label} {pk_text!r}: this process can't look it up."
        ) from error
    alias = router.db_for_write(model, instance=_probe(model, pk, database))
    rows: Any = model._base_manager.using(alias)
    return bool(rows.filter(pk=pk).exists())


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

"""Members of Enum classes and rows of models: stored by name, and looked up again."""

from __future__ import annotations

from enum import Enum, Flag
from functools import reduce
from operator import or_
from typing import Any

from django.apps import apps
from django.db import connections
from django.db.models import Model

from async_attempts.exceptions import AttemptsError, InvalidArguments, UnknownTarget
from async_attempts.imports import import_class
from async_attempts.instances import load_instance

from .places import UnstorableError


def dump_member(member: Enum) -> list[str]:
    """Return the class's dotted name and the member's name; for a Flag, the names of all its bits.

    Names, since values made by `auto()` change when a member is added. Raises UnstorableError if
    they would not load as the same member.
    """
    cls = type(member)
    bits = list(member) if isinstance(member, Flag) else [member]
    stored = [f"{cls.__module__}.{cls.__qualname__}", *(str(bit.name) for bit in bits)]
    try:
        if load_member(stored) is member:
            return stored
    except AttemptsError as error:
        raise UnstorableError(cls.__name__, str(error)) from error
    raise UnstorableError(cls.__name__, "it is no member that its class has by name.")


def load_member(stored: list[str]) -> Enum:
    """Return the member. Raises InvalidTarget, UnknownTarget if it is missing or not allowed."""
    class_name, *names = stored
    cls = import_class(class_name)
    if not issubclass(cls, Enum):
        raise InvalidArguments(f"{class_name!r} is stored as an Enum class, and is none.")
    if any(name not in cls.__members__ for name in names):
        raise UnknownTarget(f"{class_name!r} has no such member in this version of the code.")
    members = [cls[name] for name in names]
    if issubclass(cls, Flag):
        return reduce(or_, members, cls(0))
    (member,) = members
    return member


def dump_row(instance: Model) -> list[Any]:
    """Return the model's label, primary key, database. Raises UnstorableError if it isn't saved."""
    label = instance._meta.label
    if instance.pk is None or instance._state.adding:
        raise UnstorableError(f"unsaved {label}", "save it first, only its primary key is stored.")
    return [label, instance.pk, instance._state.db]


def load_row(stored: list[Any]) -> Model:
    """Return the row as it is now. Raises ObjectGone, or UnknownTarget if there is no model."""
    label, pk, database = stored
    try:
        model = apps.get_model(label)
    except LookupError:
        raise UnknownTarget(f"There is no model {label!r} in this version of the code.") from None
    if database is not None and database not in connections:
        raise UnknownTarget(
            f"{label} was stored from the database {database!r}, which DATABASES doesn't have."
        )
    return load_instance(model, pk, database)

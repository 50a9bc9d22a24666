"""Templates of new rows: copied into a row instead of worked out for each.

`Blank` has the attributes of `Model()`; a `RowTemplate` has those and the options of a target. Rows
of one template differ in nothing but their ids and arguments.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from functools import cache
from operator import is_not, itemgetter
from types import FunctionType
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.db import models
from django.db.models.base import ModelState
from django.db.models.fields.related_descriptors import ForeignKeyDeferredAttribute
from django.db.models.signals import post_init, pre_init, pre_save

from ..ids import uuid7
from ..lifecycle import Status
from ..payload import Arguments
from ..plaintext import hides_arguments
from ..targets import CallSignature, Target, target_of
from .clock import NOW
from .new_rows import fill_in

PROPERTIES: Final = frozenset({"method_args", "subject", "depends_on"})
GIVEN: Final = frozenset({"target", "method_name"})
PER_ROW: Final = {"id": uuid7, "metadata": dict}
"""The columns that are made for each row, and their defaults."""

DUE_NOW: Final = {
    "status": Status.PENDING,
    "scheduled_at": NOW,
    "created_at": NOW,
    "created": False,
}

OUR_MODULES: Final = frozenset(
    {
        f"{__package__}.attempt",
        hides_arguments.__module__,
        models.Model.__module__,
        object.__module__,
    }
)
"""The modules of the classes that attempt models are made of, and of their methods."""

_MOMENTS_PRE_SAVE: Final = (
    models.DateField.pre_save,
    models.DateTimeField.pre_save,
    models.TimeField.pre_save,
)


class Blank(NamedTuple):
    """The attributes of `Model()`, and the keyword arguments that are stored unchanged."""

    columns: dict[str, Any]
    takes: frozenset[str]


class RowTemplate:
    """The attributes of all rows of one model and target that are given nothing but arguments."""

    __slots__ = ("columns", "held", "model", "signature", "statements")

    def __init__(
        self, model: type[models.Model], signature: CallSignature, columns: dict[str, Any]
    ) -> None:
        self.model: Any = model
        self.signature = signature
        self.columns = columns
        self.held: dict[str, Any] | None = None
        """The columns of such a row in the database; set after the first one was written."""
        self.statements: dict[Any, Any] = {}
        """The INSERTs of such rows, for the stores to keep."""

    def row(self, key: UUID, arguments: Arguments) -> Any:
        """Return a new row that lacks its sealed arguments only. Raises InvalidArguments."""
        self.signature.check(arguments.args, arguments.kwargs)
        row = self.model.__new__(self.model)
        row.__dict__ = columns = self.columns.copy()
        columns["_state"] = ModelState()
        columns["id"] = key
        columns["metadata"] = {}
        columns["_plain"] = arguments
        return row


def copy_blank(row: models.Model, given: dict[str, Any]) -> bool:
    """Initialise `row` as `Model(**given)` would, by copying the blank row.

    Returns False, and does nothing, if Django's own result may differ.
    """
    # Receivers of `post_init` would see the blank row, and could change it for all rows.
    if _is_heard(type(row)):
        return False
    blank = _blank(type(row))
    if blank is None or not given.keys() <= blank.takes:
        return False
    row.__dict__ = columns = blank.columns.copy()
    columns["_state"] = ModelState()
    columns["id"] = uuid7()
    columns["metadata"] = {}
    for name, value in given.items():
        if name not in PROPERTIES:
            columns[name] = value
    for name in PROPERTIES & given.keys():
        setattr(row, name, given[name])
    return True


def template_of(
    model: type[models.Model], given: Any, method_name: str | None = None
) -> RowTemplate | None:
    """Return the template of this target, given as `target_of` allows.

    None if its rows may differ (a limit key computed from arguments, say), or if a receiver of a
    signal may change one. Raises InvalidTarget, and InvalidOption for options that can't be.
    """
    target = target_of(given, method_name)
    if _is_heard(model) or (pre_save.receivers and pre_save.has_listeners(model)):
        return None
    if model not in target.templates:
        target.templates[model] = _template(model, target)
    template: RowTemplate | None = target.templates[model]
    return template


def adopt_template(rows: Sequence[Any]) -> RowTemplate | None:
    """Fill in `rows` from one template, if each was given the same target, and arguments alone.

    Returns the template; None, and the rows as they were, if not. Raises as `template_of`, and
    InvalidArguments.
    """
    if not rows or _is_heard(type(rows[0])):
        return None
    model: type[models.Model] = type(rows[0])
    if (blank := _blank(model)) is None:
        return None
    target, method_name = rows[0].target, rows[0].method_name
    read = itemgetter(*(blank.columns.keys() - PER_ROW.keys() - GIVEN - {"_state"}))
    untouched, attributes = read(blank.columns), blank.columns.keys() | {"_plain"}
    given = itemgetter("target", "method_name", "metadata")
    for row in rows:
        columns = row.__dict__
        if type(row) is not model or columns.keys() - attributes:
            return None
        # Not by `==`: values that are equal in Python may differ in the database, as 1 and True.
        is_touched = any(map(is_not, read(columns), untouched))
        if is_touched or given(columns) != (target, method_name, {}):
            return None
    template = template_of(model, target, method_name or None)
    if template is None:
        return None
    common = template.columns.keys() - PER_ROW.keys() - {"_state"}
    shared = {name: template.columns[name] for name in common}
    for row in rows:
        arguments = row._plain or Arguments()
        template.signature.check(arguments.args, arguments.kwargs)
        row.__dict__.update(shared, _plain=arguments)
    return template


def is_not_overridden(model: type[models.Model], method: str) -> bool:
    """Return True if nobody overrides this method, in a subclass, a base, or by a patch."""
    found = [(base, vars(base)[method]) for base in model.__mro__ if method in vars(base)]
    return {
        module for base, one in found for module in (base.__module__, _home_of(one))
    } <= OUR_MODULES


def _home_of(method: Any) -> str:
    if isinstance(method, FunctionType):
        return str(method.__globals__["__name__"])
    return type(method).__module__


def has_pre_save(field: models.Field[Any, Any]) -> bool:
    """Return True if saving may compute a new value of this field for each row."""
    pre_save_of = type(field).pre_save
    if pre_save_of in _MOMENTS_PRE_SAVE:
        return bool(getattr(field, "auto_now", False) or getattr(field, "auto_now_add", False))
    return pre_save_of is not models.Field.pre_save or field.has_db_default()


def _template(model: type[models.Model], target: Target) -> RowTemplate | None:
    if (
        _blank(model) is None
        or target.name.target_pk is not None
        or callable(target.policy.limit_key)
        or callable(target.policy.key)
        or callable(target.policy.one_of)
    ):
        return None
    row: Any = model()
    relative = fill_in(row, target)
    moments = row.scheduled_at, row.expires_at
    if relative or moments != (None, None) or row.shared_key is not None:
        return None
    return RowTemplate(model, target.signature, row.__dict__ | DUE_NOW)


def _is_heard(model: type[models.Model]) -> bool:
    return bool(pre_init.receivers or post_init.receivers) and (
        pre_init.has_listeners(model) or post_init.has_listeners(model)
    )


@cache
def _blank(model: type[models.Model]) -> Blank | None:
    """Return the blank row, or None for a model whose new rows may differ."""
    if not (is_not_overridden(model, "__init__") and is_not_overridden(model, "__setattr__")):
        return None
    fields = [field for field in model._meta.concrete_fields if not field.generated]
    if any(_varies(model, field) for field in fields):
        return None
    set_as_they_are = {field.name for field in fields if field.name == field.attname}
    row = model.__new__(model)
    models.Model.__init__(row)
    return Blank(vars(row), frozenset(set_as_they_are | PROPERTIES))


def _varies(model: type[models.Model], field: models.Field[Any, Any]) -> bool:
    own = PER_ROW.get(field.attname)
    if has_pre_save(field) or (own is not None and field.default is not own):
        return True
    if own is None and field.has_default() and callable(field.default):
        return True
    descriptor = type(inspect.getattr_static(model, field.attname))
    return hasattr(descriptor, "__set__") and descriptor is not ForeignKeyDeferredAttribute

"""A new row made at once, as Django makes it field by field."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import cache
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import UUID

from django.db import models
from django.db.models.base import ModelState
from django.db.models.signals import post_init, pre_init

from ..payload import Arguments, dump_arguments
from ..plaintext import Plaintext, hide_own_values

if TYPE_CHECKING:
    from ..targets import CallSignature

BY_PROPERTY: Final = frozenset({"method_args", "subject", "depends_on"})


class Beginning(NamedTuple):
    """The attributes of a new row of one model."""

    constants: dict[str, Any]
    made_anew: tuple[tuple[str, Callable[[], Any]], ...]
    by_descriptor: tuple[tuple[str, Callable[[], Any]], ...]
    takes: frozenset[str]
    """The keyword arguments that go right into the row, or through a property of ours."""


class PromptRow(models.Model):
    """A row whose making costs little; the same in every way as the one that Django makes."""

    class Meta:
        abstract = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        value: Any = None
        later: list[tuple[str, Any]] = []
        try:
            begun = None if args or _is_heard(type(self)) else _beginning(type(self))
            if begun is None or not kwargs.keys() <= begun.takes:
                super().__init__(*args, **kwargs)
                return
            row = begun.constants.copy()
            row["_state"] = ModelState()
            for name, value in kwargs.items():
                if name in BY_PROPERTY:
                    later.append((name, value))
                else:
                    row[name] = value
            for name, make in begun.made_anew:
                if name not in kwargs:
                    row[name] = make()
            self.__dict__ = row
            for name, make in begun.by_descriptor:
                setattr(self, name, make())
            for name, value in later:
                setattr(self, name, value)
        except BaseException as error:
            del args, kwargs, later, value
            hide_own_values(error)
            raise


class Kind:
    """Rows that differ in nothing but their ids and their arguments."""

    __slots__ = ("_begun", "_model", "columns", "held", "signature", "statements")

    def __init__(
        self, model: type[models.Model], columns: Mapping[str, Any], signature: CallSignature
    ) -> None:
        self.columns = columns
        """The values that such a row is filled in with when it is promised."""
        self.signature = signature
        """The arguments that such a row may have."""
        self.statements: dict[Any, str] = {}
        """The INSERTs of one such row or of many, for the stores to keep."""
        self.held: Mapping[str, Any] | None = None
        """The columns of such a row in the database, kept by the stores once one is written."""
        self._model: Any = model
        begun = _beginning(model)
        self._begun: Any = (
            None if begun is None or begun.by_descriptor else {**begun.constants, **columns}
        )

    def makes_rows(self) -> bool:
        """Return True if `row` makes the row that Django would make."""
        return self._begun is not None and not _is_heard(self._model)

    def row(self, key: UUID, arguments: Arguments) -> Any:
        """A new row that is filled in already, but for its encrypted arguments."""
        made = self._model.__new__(self._model)
        made.__dict__ = row = self._begun.copy()
        row["_state"] = ModelState()
        row["id"] = key
        row["metadata"] = {}
        row["_plain"] = arguments
        return made

    def plaintext(self, arguments: Arguments) -> Plaintext:
        """The arguments as bytes. Raises InvalidArguments, if the target doesn't take them too."""
        self.signature.check(arguments.args, arguments.kwargs)
        return dump_arguments(arguments)


class Untouched(NamedTuple):
    """The values of a new row that was given nothing but its target and its arguments."""

    read: Callable[[Mapping[str, Any]], tuple[Any, ...]]
    values: tuple[Any, ...]


@cache
def untouched(model: type[models.Model]) -> Untouched | None:
    """Return these values, or None for a model with a column whose default differs by row."""
    begun = _beginning(model)
    if begun is None or {name for name, _ in begun.made_anew} != {"id", "metadata"}:
        return None
    given = ("id", "target", "method_name", "_state")
    beside = {name: make() for name, make in begun.by_descriptor}
    values = {**begun.constants, **beside, "metadata": {}}
    names = [name for name in values if name not in given]
    return Untouched(itemgetter(*names), tuple(values[name] for name in names))


def _is_heard(model: type[models.Model]) -> bool:
    return bool(pre_init.receivers or post_init.receivers) and _heard(model)


def _heard(model: type[models.Model]) -> bool:
    return pre_init.has_listeners(model) or post_init.has_listeners(model)


@cache
def _beginning(model: type[models.Model]) -> Beginning | None:
    """Return the attributes, or None for a model whose rows only Django can make."""
    after = model.__mro__[model.__mro__.index(PromptRow) + 1 :]
    others = [c for c in after if c not in (models.Model, object) and "__init__" in vars(c)]
    if model._meta.abstract or others or model.__setattr__ is not object.__setattr__:
        return None
    constants: dict[str, Any] = {"_state": None}
    made_anew, by_descriptor, takes = [], [], set(BY_PROPERTY)
    for field in model._meta.concrete_fields:
        if field.generated:
            continue
        name, make = field.attname, field.get_default
        if hasattr(type(inspect.getattr_static(model, name)), "__set__"):
            by_descriptor.append((name, make))
            continue
        if name == field.name:
            takes.add(name)
        # A database's default is an expression of its own for each row.
        if field.has_default() and callable(field.default):
            constants[name] = None
            made_anew.append((name, field.default))
        elif field.has_db_default():
            constants[name] = None
            made_anew.append((name, make))
        else:
            constants[name] = make()
    return Beginning(constants, tuple(made_anew), tuple(by_descriptor), frozenset(takes))

"""Names of targets: how what is given to `enqueue` is written into a row."""

from __future__ import annotations

from types import MethodType, ModuleType
from typing import Any, Final, NamedTuple

from django.db.models import Model

from ..exceptions import InvalidTarget

MAX_LENGTH: Final = 255

CALLED: Final = (
    "To call a function later, pass it and its arguments, not what it returned: "
    "enqueue(function, …), not enqueue(function(…))."
)
NEEDS_MODEL: Final = (
    "is a method of instances, and only a model's instances can be found again: "
    "make it a static or a class method, or pass a model instance's"
)


class TargetName(NamedTuple):
    """The three columns that name what is called.

    `target`: the dotted name of a module or a class. `target_pk`: the primary key of the model
    instance, as text, or None. `method_name`: the function or method of it.
    """

    target: str
    target_pk: str | None
    method_name: str

    def __str__(self) -> str:
        return f"{self.target}.{self.method_name}"


def name_of(given: object, method_name: str | None = None) -> TargetName:
    """Return the name of what is given; `target_of` finds out whether it leads there.

    `given`: a class, a module, a model instance or the dotted name of a class or module, with
    `method_name`; or, without, a function, a static, class or bound method, or a function's dotted
    name. Raises InvalidTarget, with the remedy.
    """
    if not isinstance(method_name, str | None):
        raise InvalidTarget(f"method_name must be a name, not a {_kind(method_name)}.")
    name = _name_of(given, method_name)
    for column, value in name._asdict().items():
        if value is not None and len(value) > MAX_LENGTH:
            raise InvalidTarget(
                f"{column} {value[:40] + '…'!r} is longer than {MAX_LENGTH} characters."
            )
    return name


def _name_of(given: object, method_name: str | None) -> TargetName:
    if isinstance(given, Model):
        return _name_on_instance(given, _required(method_name, given))
    if isinstance(given, type):
        return TargetName(_name_of_class(given), None, _required(method_name, given))
    if isinstance(given, ModuleType):
        return TargetName(given.__name__, None, _required(method_name, given))
    if isinstance(given, str):
        return _name_in_text(given, method_name)
    return _name_of_function(given, method_name)


def _name_in_text(text: str, method_name: str | None) -> TargetName:
    if not text:
        raise InvalidTarget(
            "target is missing: give a function, or a class, a module or a model instance with "
            "method_name."
        )
    if method_name is not None:
        return TargetName(text, None, method_name)
    if any(not part.isidentifier() for part in text.split(".")):
        # The text isn't repeated: it may be data.
        raise InvalidTarget(
            f"A str of {len(text)} characters can't be a target: it is no dotted name, such as "
            f"'shop.clients.send_welcome'. {CALLED}"
        )
    owner, _, method_name = text.rpartition(".")
    return TargetName(owner, None, method_name)


def _name_of_function(function: Any, method_name: str | None) -> TargetName:
    plain = underlying(function)
    full_name = own_name(plain)
    if not callable(plain) or full_name is None:
        raise InvalidTarget(
            f"A {_kind(function)} can't be a target, it has no dotted name: pass a function, a "
            f"class, a module, a model instance or a dotted name. {CALLED}"
        )
    if "<" in full_name:
        raise InvalidTarget(
            f"{full_name} can't be a target: no name leads to a lambda or a nested function. "
            f"Define it with def in its module."
        )
    owner, _, own_method_name = full_name.rpartition(".")
    if method_name is not None and method_name != own_method_name:
        raise InvalidTarget(f"{full_name} is given, and method_name={method_name!r}: leave it out.")
    if not isinstance(function, MethodType):
        return TargetName(owner, None, own_method_name)
    if isinstance(function.__self__, type):
        return TargetName(_name_of_class(function.__self__), None, own_method_name)
    if isinstance(function.__self__, Model):
        return _name_on_instance(function.__self__, own_method_name)
    raise InvalidTarget(f"{full_name} {NEEDS_MODEL}.")


def _name_on_instance(instance: Model, method_name: str) -> TargetName:
    if instance.pk is None or instance._state.adding:
        raise InvalidTarget(
            f"An unsaved {instance._meta.label} can't be a target: save it before enqueueing."
        )
    # Not type(): a lazy object such as request.user only says to be of the model's class.
    target = _name_of_class(instance.__class__)
    return TargetName(target, instance._meta.pk.value_to_string(instance), method_name)


def _name_of_class(cls: type) -> str:
    name = own_name(cls)
    if name is None or "<" in name:
        raise InvalidTarget(
            f"{name} can't be a target: no name leads to a class in a function. Define it in its "
            f"module."
        )
    return name


def _required(method_name: str | None, given: object) -> str:
    if method_name is None:
        what = own_name(given) or getattr(given, "__name__", _kind(given))
        raise InvalidTarget(f"{what} is given without method_name: say what to call on it.")
    return method_name


def _kind(thing: object) -> str:
    """Return a word for messages: a repr may run a query, or tell what is private."""
    return type(thing).__name__


def target_column(target: object) -> str | None:
    """Return the column `target` for a class, a module, a function or a model instance."""
    if isinstance(target, MethodType):
        return target_column(target.__self__)
    if isinstance(target, ModuleType):
        return target.__name__
    if isinstance(target, type | Model):
        return own_name(target.__class__ if isinstance(target, Model) else target)
    return (own_name(underlying(target)) or "").rpartition(".")[0] or None


def underlying(function: object) -> Any:
    """Return the plain function in a static, class or bound method; anything else as it is."""
    while isinstance(function, staticmethod | classmethod | MethodType):
        function = function.__func__
    return function


def own_name(thing: object) -> str | None:
    """Return the dotted name that a function or a class was defined by, or None."""
    module, path = getattr(thing, "__module__", None), getattr(thing, "__qualname__", None)
    return f"{module}.{path}" if isinstance(module, str) and isinstance(path, str) else None

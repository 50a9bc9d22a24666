"""How a target is written into a row."""

from __future__ import annotations

from types import MethodType, ModuleType
from typing import Any, Final, NamedTuple

from django.db.models import Model

from async_attempts.exceptions import InvalidTarget

from .importable import import_class
from .methods import NEEDS_MODEL, Method, method_of
from .registry import own_name, underlying

MAX_LENGTH: Final = 255


CALLED: Final = (
    "To call a function later, pass it and its arguments, not what it returned: "
    "enqueue(function, …), not enqueue(function(…))."
)


class TargetName(NamedTuple):
    """What is called, as three columns.

    `target`: the dotted name of a module or a class. `target_pk`: the primary key of the model
    instance, as text, or None. `method_name`: the function or method of it.
    """

    target: str
    target_pk: str | None
    method_name: str

    def __str__(self) -> str:
        return f"{self.target}.{self.method_name}"


def name_of(target: object, method_name: str | None = None) -> TargetName:
    """The name under which `target` will be found again, if it may be called.

    `target`: a class, a module, a model instance or the dotted name of a class or module, with
    `method_name`; or, without, a function, a static, class or bound method, or a function's dotted
    name. Raises InvalidTarget, with the remedy; for a name that isn't there, its UnknownTarget.
    """
    if not isinstance(method_name, str | None):
        raise InvalidTarget(f"method_name must be a name, not a {_kind(method_name)}.")
    if isinstance(target, Model):
        return _name_on_instance(target, _given(target, method_name))
    if isinstance(target, type):
        return _checked(_name_of_class(target), None, _given(target, method_name))
    if isinstance(target, ModuleType):
        return _checked(target.__name__, None, _given(target, method_name))
    if target == "":
        raise InvalidTarget(
            "target is missing: give a function, or a class, a module or a model instance with "
            "method_name."
        )
    if isinstance(target, str):
        if method_name is None:
            _require_dotted(target)
            target, _, method_name = target.rpartition(".")
        return _checked(target, None, method_name)
    return _name_of_function(target, method_name)


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
    own_target, _, own_method_name = full_name.rpartition(".")
    if method_name is not None and method_name != own_method_name:
        raise InvalidTarget(f"{full_name} is given, and method_name={method_name!r}: leave it out.")
    if not isinstance(function, MethodType):
        name = _checked(own_target, None, own_method_name)
    elif isinstance(function.__self__, type):
        name = _checked(_name_of_class(function.__self__), None, own_method_name)
    elif isinstance(function.__self__, Model):
        name = _name_on_instance(function.__self__, own_method_name)
    else:
        raise InvalidTarget(f"{full_name} {NEEDS_MODEL}.")
    if underlying(method_of(name.target, name.method_name).found) is not plain:
        raise InvalidTarget(
            f"{name} is another function than the one given: was it decorated or replaced later? "
            f"Pass the one that its name leads to."
        )
    return name


def _require_dotted(name: str) -> None:
    """Raises InvalidTarget for text that is no name, and doesn't repeat it: it may be data."""
    if any(not part.isidentifier() for part in name.split(".")):
        raise InvalidTarget(
            f"A str of {len(name)} characters can't be a target: it is no dotted name, such as "
            f"'shop.clients.send_welcome'. {CALLED}"
        )


def _name_on_instance(instance: Model, method_name: str) -> TargetName:
    if instance.pk is None or instance._state.adding:
        raise InvalidTarget(
            f"An unsaved {instance._meta.label} can't be a target: save it before enqueueing."
        )
    # Not type(): a lazy object such as request.user only says to be of the model's class.
    target = _name_of_class(instance.__class__)
    return _checked(target, instance._meta.pk.value_to_string(instance), method_name)


def _name_of_class(target: type) -> str:
    name = own_name(target)
    if name is None or "<" in name:
        raise InvalidTarget(
            f"{name} can't be a target: no name leads to a class in a function. Define it in its "
            f"module."
        )
    if import_class(name) is not target:
        raise InvalidTarget(f"{name} is another class than the one given: was it replaced?")
    return name


def _kind(thing: object) -> str:
    """For messages: a repr may run a query, or tell what is private."""
    return type(thing).__name__


def _given(target: object, method_name: str | None) -> str:
    if method_name is None:
        what = own_name(target) or getattr(target, "__name__", _kind(target))
        raise InvalidTarget(f"{what} is given without method_name: say what to call on it.")
    return method_name


def _checked(target: str, target_pk: str | None, method_name: str) -> TargetName:
    name = TargetName(target, target_pk, method_name)
    for column, value in name._asdict().items():
        if value is not None and len(value) > MAX_LENGTH:
            raise InvalidTarget(
                f"{column} {value[:40] + '…'!r} is longer than {MAX_LENGTH} characters."
            )
    method = method_of(target, method_name)
    require_callable_as(name, method)
    # A former name was given: the row gets the present one.
    return name._replace(target=method.target, method_name=method.name)


def require_callable_as(name: TargetName, method: Method) -> None:
    """Raises InvalidTarget unless the name has an instance where its method takes one."""
    if name.target_pk is None and method.needs_instance:
        raise InvalidTarget(
            f"{name} is a method of model instances: pass an instance, not the class."
        )
    if name.target_pk is not None and method.model is None:
        raise InvalidTarget(f"{name} has a primary key, but {name.target} is no model with rows.")


def target_column(target: object) -> str | None:
    """What the column `target` holds for a class, a module, a function or a model instance."""
    if isinstance(target, MethodType):
        return target_column(target.__self__)
    if isinstance(target, ModuleType):
        return target.__name__
    if isinstance(target, type | Model):
        return own_name(target.__class__ if isinstance(target, Model) else target)
    return (own_name(underlying(target)) or "").rpartition(".")[0] or None

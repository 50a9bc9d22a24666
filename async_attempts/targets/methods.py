"""What a stored name stands for: the one place that says whether it may be called."""

from __future__ import annotations

from dataclasses import dataclass
from inspect import isroutine
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from asgiref.sync import iscoroutinefunction
from django.core.signals import setting_changed
from django.db.models import Model

from async_attempts.conf import SETTING, settings
from async_attempts.exceptions import InvalidTarget

from .importable import import_owner, matches_targets, namespace_of, require_importable
from .registry import UNSAID, current_name, declared_policy, registered, underlying

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .policy import Policy

REMEDY: Final = f"decorate it with @attemptable or name it in {SETTING}['TARGETS']"
NEEDS_MODEL: Final = (
    "is a method of instances, and only a model's instances can be found again: "
    "make it a static or a class method, or pass a model instance's"
)


@dataclass(frozen=True, slots=True)
class Method:
    """A function of a module or a method of a class that may be called.

    `target` is the dotted name of its `owner`; `found` is what `namespace` holds under `name`: the
    function, or a static or class method.
    """

    target: str
    owner: ModuleType | type
    name: str
    namespace: Mapping[str, object]
    found: Any
    policy: Policy
    is_coroutine: bool

    @property
    def model(self) -> type[Model] | None:
        """Its class, if that is a model whose rows can be read again."""
        owner = self.owner
        if not isinstance(owner, type) or not issubclass(owner, Model) or owner is Model:
            return None
        return None if owner._meta.abstract else owner

    @property
    def needs_instance(self) -> bool:
        """Whether it is called on an instance of its class."""
        return (
            isinstance(self.owner, type)
            and not isinstance(self.found, staticmethod | classmethod)
            and hasattr(type(self.found), "__get__")
        )

    @property
    def takes_owner(self) -> bool:
        """Whether its first parameter is its class or the instance, not an argument."""
        return isinstance(self.found, classmethod) or self.needs_instance

    @property
    def is_current(self) -> bool:
        """Whether the code still holds it: a reload or a test's mock may have replaced it."""
        return self.namespace.get(self.name) is self.found

    def bound_to(self, instance: object | None) -> Callable[..., Any]:
        """The callable that takes the attempt's arguments."""
        bound: Callable[..., Any] = self.found
        if isinstance(self.owner, type) and hasattr(type(bound), "__get__"):
            bound = self.found.__get__(instance, self.owner)
        return bound


_methods: dict[tuple[str, str], Method] = {}


def method_of(target: str, method_name: str) -> Method:
    """The method that these two columns name, or that had this name before it was moved.

    Raises InvalidTarget for what may not be called; its UnknownTarget for what isn't there.
    """
    method = _methods.get((target, method_name))
    if method is not None and method.is_current:
        return method
    try:
        method = _find(target, method_name)
    except InvalidTarget:
        name = current_name(f"{target}.{method_name}")
        if name is None:
            raise
        target_now, _, name_now = name.rpartition(".")
        method = _find(target_now, name_now)
    _methods[target, method_name] = method
    return method


def known_policy(target: str, method_name: str) -> Policy | None:
    """The policy of what these two columns name, if this process knows it; nothing is imported.

    It knows what was found here before, and what was decorated in a module that is imported. For
    columns of a row that nobody has authenticated: an import would run what their writer chose.
    """
    method = _methods.get((target, method_name))
    if method is not None and method.is_current:
        return method.policy
    name, policies = f"{target}.{method_name}", registered()
    return policies.get(name) or policies.get(current_name(name) or "")


def _find(target: str, method_name: str) -> Method:
    full_name = f"{target}.{method_name}"
    require_importable(full_name)
    module, owner = import_owner(target)
    namespace = namespace_of(owner, method_name)
    found = namespace[method_name]
    function = underlying(found)
    _require_function(full_name, owner, function)
    policy = declared_policy(function, full_name)
    if policy is None:
        if not _is_named_in_targets(full_name, module, owner, function):
            raise InvalidTarget(f"{full_name} is not attemptable: {REMEDY}.")
        policy = UNSAID
    is_coroutine = iscoroutinefunction(function)
    method = Method(target, owner, method_name, namespace, found, policy, is_coroutine)
    if method.needs_instance and method.model is None:
        raise InvalidTarget(f"{full_name} {NEEDS_MODEL}.")
    return method


def _require_function(full_name: str, owner: ModuleType | type, function: object) -> None:
    if isinstance(function, type | ModuleType):
        what = "class" if isinstance(function, type) else "module"
        raise InvalidTarget(f"{full_name} is a {what}: name one of its functions or methods.")
    is_descriptor = isinstance(owner, type) and hasattr(type(function), "__get__")
    if not callable(function) or (is_descriptor and not isroutine(function)):
        raise InvalidTarget(
            f"{full_name} is a {type(function).__name__}, not a function: it can't be called."
        )


def _is_named_in_targets(
    full_name: str, module: ModuleType, owner: ModuleType | type, function: object
) -> bool:
    """A glob covers only what its module defines, not what that has imported."""
    if full_name in settings().TARGETS:
        return True
    homes = {getattr(function, "__module__", None)}
    if isinstance(owner, type):
        homes.add(owner.__module__)
    return homes == {module.__name__} and matches_targets(full_name)


def _forget(*, setting: str, **_: object) -> None:
    if setting in (SETTING, "INSTALLED_APPS"):
        _methods.clear()


setting_changed.connect(_forget)

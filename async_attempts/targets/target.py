"""`Target`: the function or method behind a name, if it may be called."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from inspect import isroutine
from types import FunctionType, MethodType, ModuleType
from typing import Any, Final, Protocol

from asgiref.sync import iscoroutinefunction
from django.db.models import Model

from ..conf import SETTING, forget_on, settings
from ..exceptions import InvalidTarget, ObjectGone
from ..imports import import_owner, matches_targets, namespace_of, require_importable
from ..instances import load_by_text
from .decorator import UNSAID, current_name, declared_policy, registered
from .names import NEEDS_MODEL, TargetName, name_of, underlying
from .policy import Policy
from .signature import CallSignature

MAX_CACHED: Final = 4096

REMEDY: Final = f"decorate it with @attemptable or name it in {SETTING}['TARGETS']"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Target:
    """A function of a module or a method of a class that may be called."""

    name: TargetName
    owner: ModuleType | type
    namespace: Mapping[str, object]
    """The owner's, or that of the base class which defines it."""
    found: Any
    """The function, static or class method in the namespace."""
    policy: Policy
    signature: CallSignature
    function: Callable[..., Any]
    """The callable for the arguments, bound to its class, or to the instance that is resolved."""
    is_coroutine: bool
    needs_instance: bool
    templates: dict[type, Any] = field(default_factory=dict)
    """By model, the template of new rows that call this target; None: they have none."""

    def __repr__(self) -> str:
        return f"<Target {self.name}>"

    @property
    def model(self) -> type[Model] | None:
        """The model whose instances it can be called on, if any."""
        owner = self.owner
        if not isinstance(owner, type) or not issubclass(owner, Model) or owner is Model:
            return None
        return None if owner._meta.abstract else owner

    @property
    def label(self) -> str | None:
        """The label of that model, such as "shop.order"."""
        return None if self.model is None else self.model._meta.label_lower

    def of_instance(self, target_pk: str) -> Target:
        """Return the target that is called on the instance with this primary key."""
        return replace(self, name=self.name._replace(target_pk=target_pk), templates={})


class Named(Protocol):
    """A `TargetName`, or any other row with these columns."""

    @property
    def target(self) -> str: ...
    @property
    def target_pk(self) -> str | None: ...
    @property
    def method_name(self) -> str: ...


_targets: dict[tuple[Any, str | None], Target] = {}
"""The cache: by two columns, and by each thing that was given and always has the same name."""


def target_of(given: Any, method_name: str | None = None) -> Target:
    """Return the target that is given as `name_of` allows.

    Raises InvalidTarget, with the remedy; its UnknownTarget for a name that isn't there.
    """
    target = _cached(given, method_name)
    if target is None or target.needs_instance:
        target = _look_up(given, method_name)
        if _has_one_name(given):
            _keep(target, given, method_name)
    return target


def target_named(target: str, method_name: str) -> Target:
    """Return the target that these two columns name, now or before it was moved.

    Raises InvalidTarget for what may not be called; its UnknownTarget for what isn't there.
    """
    found = _cached(target, method_name)
    if found is None:
        try:
            found = _find(target, method_name)
        except InvalidTarget:
            name = current_name(f"{target}.{method_name}")
            if name is None:
                raise
            owner_now, _, name_now = name.rpartition(".")
            found = _find(owner_now, name_now)
        _keep(found, target, method_name)
    return found


def known_policy(target: str, method_name: str) -> Policy | None:
    """Return the policy of what these two columns name, if this process knows it, or None.

    It knows the targets that it has looked up, and the functions that are decorated in the modules
    that it has imported. For a row that nobody has authenticated: to import what it names would
    run code that its writer chose.
    """
    if (found := _cached(target, method_name)) is not None:
        return found.policy
    name, policies = f"{target}.{method_name}", registered()
    return policies.get(name) or policies.get(current_name(name) or "")


def resolve(named: Named, database: str) -> Target:
    """Return the target to be performed; `database` is the alias that the attempt's row is from.

    A model instance is read where the routers would write it, else from `database`. Raises
    InvalidTarget, UnknownTarget, and ObjectGone if the instance's row is not there any more.
    """
    target = target_named(named.target, named.method_name)
    if named.target_pk is None and not target.needs_instance:
        return target
    name = TargetName(named.target, named.target_pk, named.method_name)
    _require_instance(name, target)
    if named.target_pk is None or target.model is None:
        return target
    try:
        instance = load_by_text(target.model, named.target_pk, database)
    except ObjectGone as error:
        error.target_pk = named.target_pk
        raise
    function = _bound(target.found, target.owner, instance)
    return replace(target.of_instance(named.target_pk), function=function)


def _cached(given: Any, method_name: str | None) -> Target | None:
    """Return the target, unless its name leads to another by now: by a reload, or by a mock."""
    try:
        target = _targets[given, method_name]
    except (KeyError, TypeError):  # TypeError: it has no hash
        return None
    found = target.namespace.get(target.name.method_name)
    return target if found is target.found else None


def _keep(target: Target, given: Any, method_name: str | None) -> None:
    if len(_targets) >= MAX_CACHED:
        _targets.clear()
    _targets[given, method_name] = target


def _has_one_name(given: Any) -> bool:
    """Return True if it always has the same name: an instance's has its primary key."""
    kind = type(given)
    if kind is MethodType:
        return isinstance(given.__self__, type) and type(given.__func__) is FunctionType
    return kind in (FunctionType, str, ModuleType) or isinstance(given, type)


def _look_up(given: Any, method_name: str | None) -> Target:
    name = name_of(given, method_name)
    target = target_named(name.target, name.method_name)
    _require_instance(name, target)
    _require_same(given, name, target)
    return target if name.target_pk is None else target.of_instance(name.target_pk)


def _require_instance(name: TargetName, target: Target) -> None:
    """Raise InvalidTarget unless the name has an instance where its method takes one."""
    if name.target_pk is None and target.needs_instance:
        raise InvalidTarget(
            f"{name} is a method of model instances: pass an instance, not the class."
        )
    if name.target_pk is not None and target.model is None:
        raise InvalidTarget(f"{name} has a primary key, but {name.target} is no model with rows.")


def _require_same(given: Any, name: TargetName, target: Target) -> None:
    """Raise InvalidTarget if the name of what is given leads to something else."""
    owner = given
    if not isinstance(given, str | type | ModuleType | Model):
        if underlying(target.found) is not underlying(given):
            raise InvalidTarget(
                f"{target.name} is another function than the one given: was it decorated or "
                f"replaced later? Pass the one that its name leads to."
            )
        owner = getattr(given, "__self__", None)
    if isinstance(owner, Model):
        owner = owner.__class__
    # A former name may lead to another class.
    if isinstance(owner, type) and owner is not target.owner and name.target == target.name.target:
        raise InvalidTarget(f"{name.target} is another class than the one given: was it replaced?")


def _find(owner_name: str, method_name: str) -> Target:
    full_name = f"{owner_name}.{method_name}"
    require_importable(full_name)
    module, owner = import_owner(owner_name)
    namespace = namespace_of(owner, method_name)
    found: Any = namespace[method_name]
    function = underlying(found)
    _require_function(full_name, owner, function)
    policy = declared_policy(function, full_name)
    if policy is None:
        if not _is_named_in_targets(full_name, module, owner, function):
            raise InvalidTarget(f"{full_name} is not attemptable: {REMEDY}.")
        policy = UNSAID
    needs_instance = _is_bound_by(owner, found) and not isinstance(
        found, staticmethod | classmethod
    )
    takes_owner = needs_instance or isinstance(found, classmethod)
    target = Target(
        name=TargetName(owner_name, None, method_name),
        owner=owner,
        namespace=namespace,
        found=found,
        policy=policy,
        signature=CallSignature(function, takes_owner=takes_owner),
        function=_bound(found, owner, None),
        is_coroutine=iscoroutinefunction(function),
        needs_instance=needs_instance,
    )
    if needs_instance and target.model is None:
        raise InvalidTarget(f"{full_name} {NEEDS_MODEL}.")
    return target


def _is_bound_by(owner: ModuleType | type, found: object) -> bool:
    return isinstance(owner, type) and hasattr(type(found), "__get__")


def _bound(found: Any, owner: ModuleType | type, instance: Model | None) -> Callable[..., Any]:
    bound: Callable[..., Any] = found
    if _is_bound_by(owner, found):
        bound = found.__get__(instance, owner)
    return bound


def _require_function(full_name: str, owner: ModuleType | type, function: object) -> None:
    if isinstance(function, type | ModuleType):
        what = "class" if isinstance(function, type) else "module"
        raise InvalidTarget(f"{full_name} is a {what}: name one of its functions or methods.")
    if not callable(function) or (_is_bound_by(owner, function) and not isroutine(function)):
        raise InvalidTarget(
            f"{full_name} is a {type(function).__name__}, not a function: it can't be called."
        )


def _is_named_in_targets(
    full_name: str, module: ModuleType, owner: ModuleType | type, function: object
) -> bool:
    """Return True if `TARGETS` names it; a glob covers only functions that its module defines."""
    if full_name in settings().TARGETS:
        return True
    homes = {getattr(function, "__module__", None)}
    if isinstance(owner, type):
        homes.add(owner.__module__)
    return homes == {module.__name__} and matches_targets(full_name)


forget_on(_targets.clear, SETTING, "INSTALLED_APPS")

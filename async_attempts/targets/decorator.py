"""`@attemptable`, and the registry of the functions that it decorates."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final, TypeVar, Unpack, overload

from asgiref.sync import iscoroutinefunction
from django.dispatch import Signal

from ..exceptions import InvalidOption, InvalidTarget
from ..imports import matches_targets, require_public
from ..values import seconds_of
from .names import own_name, underlying
from .policy import EventOptions, Policy, TargetOptions
from .shared_keys import check_key_options

Function = TypeVar("Function", bound="Callable[..., Any] | classmethod[Any, ..., Any]")

MARK: Final = "_async_attempts_policy"
TIMES: Final = ("delay", "expires_after", "timeout", "debounce", "throttle", "max_wait")

EXPIRE: Final = "expire"
ends_with_subject: Final = Signal()
"""Sent with the `name` of each function that is decorated with `on_subject_deleted="expire"`."""

UNSAID: Final = Policy()
"""The policy of a function that only the setting `TARGETS` makes attemptable."""

_policies: dict[str, Policy] = {}
_aliases: dict[str, str] = {}


@overload
def attemptable(function: Function, /) -> Function: ...


@overload
def attemptable(**options: Unpack[TargetOptions]) -> Callable[[Function], Function]: ...


def attemptable(function: Any = None, /, **options: Unpack[TargetOptions]) -> Any:
    """Let attempts call this function by its dotted name, and say how. Returns what it was given.

    For functions of a module and for methods, above or below `@staticmethod` and `@classmethod`.
    The options are those of `TargetOptions`.

    Raises InvalidTarget for a function that no name leads to, InvalidOption for a wrong option.
    """
    policy = policy_with(options)

    def decorate(function: Any) -> Any:
        plain = underlying(function)
        name = _require_name(plain)
        if policy.atomic and iscoroutinefunction(plain):
            raise InvalidOption(
                f"atomic: {name} is a coroutine function, and no transaction can span its awaits; "
                f"make it a plain function or leave atomic out."
            )
        _register(plain, name, policy)
        return function

    return decorate if function is None else decorate(function)


def policy_with(options: EventOptions) -> Policy:
    """Return the policy that has these options, `TargetOptions` or fewer.

    Raises InvalidOption, naming the one that is wrong; TypeError for an unknown one.
    """
    for name in options.keys() - TargetOptions.__optional_keys__:
        known = ", ".join(sorted(TargetOptions.__optional_keys__))
        raise TypeError(f"attemptable() has no option {name!r}; there are {known}.")
    given: dict[str, Any] = {**options}
    given |= {name: _seconds(given[name]) for name in TIMES if name in given}
    if "aliases" in given:
        given["aliases"] = _former_names(given["aliases"])
    policy = Policy(**given)
    check_key_options(policy)
    return policy


def _seconds(value: Any) -> Any:
    """Return seconds for a timedelta or a number, anything else for `Policy` to refuse."""
    found = seconds_of(value)
    return value if found is None else found


def _former_names(aliases: Iterable[str]) -> tuple[str, ...]:
    names = (aliases,) if isinstance(aliases, str) else tuple(aliases)
    for name in names:
        if "." not in name:
            raise InvalidOption(f"aliases: {name!r} must be a full dotted name.")
        require_public(name)
    return names


def _require_name(function: object) -> str:
    """Return the function's dotted name. Raises InvalidTarget if none leads back to it."""
    kind = type(function).__name__
    if not callable(function):
        raise InvalidTarget(f"@attemptable is for functions; a {kind} is not callable.")
    name = own_name(function)
    if isinstance(function, type):
        raise InvalidTarget(f"@attemptable is for functions; decorate the methods of {name}.")
    if name is None or "<lambda>" in name:
        raise InvalidTarget(
            f"@attemptable: {name or f'a {kind}'} has no name that leads to it, as lambdas and "
            f"partials have none; define it with def."
        )
    if "<locals>" in name:
        raise InvalidTarget(
            f"@attemptable: {name} is defined inside a function, where no name leads to it; move "
            f"it to its module, or use functools.wraps if a decorator made it."
        )
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise InvalidTarget(f"@attemptable: {name} is a generator; calling it runs none of it.")
    return name


def _register(function: Any, dotted_name: str, policy: Policy) -> None:
    """Mark the plain `function`. Raises InvalidTarget if it can't be, or if an alias is taken."""
    for alias in policy.aliases:
        holder = _aliases.get(alias, dotted_name)
        if holder != dotted_name:
            raise InvalidTarget(f"The alias {alias!r} of {dotted_name} is {holder}'s already.")
    try:
        setattr(function, MARK, policy)
    except (AttributeError, TypeError) as error:
        raise InvalidTarget(
            f"{dotted_name} takes no decoration; name it in ASYNC_ATTEMPTS['TARGETS'] instead."
        ) from error
    _policies[dotted_name] = policy
    _aliases.update(dict.fromkeys(policy.aliases, dotted_name))
    if policy.on_subject_deleted == EXPIRE:
        ends_with_subject.send(sender=Policy, name=dotted_name)


def registered() -> Mapping[str, Policy]:
    """Return the policies, by dotted name, of all decorated functions in imported modules."""
    return MappingProxyType(_policies)


def current_name(alias: str) -> str | None:
    """Return the dotted name of the function that now stands for `alias`, or None."""
    return _aliases.get(alias)


def policy_of(function: object) -> Policy | None:
    """Return the policy of a function, the default one if only `TARGETS` names it, or None.

    `function`: a function, or a static, class or bound method.
    """
    plain = underlying(function)
    name = own_name(plain)
    if name is None:
        return None
    return declared_policy(plain, name) or (UNSAID if matches_targets(name) else None)


def declared_policy(function: object, dotted_name: str) -> Policy | None:
    """Return the policy of this function, or of the one that was defined by this name.

    The latter lets a test put a mock in a target's place.
    """
    return _marked_policy(function) or _policies.get(dotted_name)


def is_marked(function: object) -> bool:
    """Return True if `@attemptable` stands on this very plain function."""
    return _marked_policy(function) is not None


def _marked_policy(function: object) -> Policy | None:
    policy = inspect.getattr_static(function, MARK, None)
    return policy if isinstance(policy, Policy) else None


def module_load_id(function: object) -> object:
    """Return an object that is new at each load of the function's module; None in a shell."""
    module = sys.modules.get(underlying(function).__module__)
    return getattr(module, "__spec__", None)

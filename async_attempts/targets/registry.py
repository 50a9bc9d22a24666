"""Which functions are attemptable: the decorated ones, by name, and their former names."""

from __future__ import annotations

import inspect
import sys
from types import MappingProxyType, MethodType
from typing import TYPE_CHECKING, Any, Final

from async_attempts.exceptions import InvalidTarget

from .importable import matches_targets
from .policy import Policy

if TYPE_CHECKING:
    from collections.abc import Mapping

MARK: Final = "_async_attempts_policy"

UNSAID: Final = Policy()
"""The policy of a function that only the setting `TARGETS` makes attemptable."""

_policies: dict[str, Policy] = {}
_aliases: dict[str, str] = {}


def registered() -> Mapping[str, Policy]:
    """The policies of all decorated functions by dotted name, as far as they are imported."""
    return MappingProxyType(_policies)


def policy_of(function: object) -> Policy | None:
    """What `@attemptable` said, the default policy for what `TARGETS` names, or else None.

    `function`: a function, or a static, class or bound method.
    """
    plain = underlying(function)
    name = own_name(plain)
    if name is None:
        return None
    return declared_policy(plain, name) or (UNSAID if matches_targets(name) else None)


def declared_policy(function: object, dotted_name: str) -> Policy | None:
    """What `@attemptable` said of this function, or of the one that was defined by this name.

    The latter lets a test put a mock in a target's place.
    """
    return _marked_policy(function) or _policies.get(dotted_name)


def is_marked(function: object) -> bool:
    """Whether `@attemptable` stands on this very plain function."""
    return _marked_policy(function) is not None


def _marked_policy(function: object) -> Policy | None:
    policy = inspect.getattr_static(function, MARK, None)
    return policy if isinstance(policy, Policy) else None


def current_name(alias: str) -> str | None:
    """The dotted name of the function that now stands for `alias`, or None."""
    return _aliases.get(alias)


def register(function: Any, dotted_name: str, policy: Policy) -> None:
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


def underlying(function: object) -> Any:
    """The plain function in a static, class or bound method; anything else as it is."""
    while isinstance(function, staticmethod | classmethod | MethodType):
        function = function.__func__
    return function


def reading_of(function: object) -> object:
    """What each import and each reload of its module has anew; None in a shell or a notebook."""
    module = sys.modules.get(underlying(function).__module__)
    return getattr(module, "__spec__", None)


def own_name(thing: object) -> str | None:
    """The dotted name that a function or a class was defined by, or None."""
    module, path = getattr(thing, "__module__", None), getattr(thing, "__qualname__", None)
    return f"{module}.{path}" if isinstance(module, str) and isinstance(path, str) else None

"""The targets that an author has called when an attempt ended badly: `on_failed`, `on_expired`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from ..exceptions import InvalidOption, InvalidTarget
from .names import own_name, underlying
from .policy import Policy
from .target import Target, target_named

OPTION_OF: Final = {"failed": "on_failed", "expired": "on_expired"}
"""The option of the decorator, by the status that an attempt ended with."""


def has_end_handler(policy: Policy) -> bool:
    """Return True if something is to be called when an attempt of this policy has ended badly."""
    return policy.on_failed is not None or policy.on_expired is not None


def end_handlers_of(target: Target) -> dict[str, Target]:
    """Return what is to be called when an attempt of `target` has ended badly, by its status.

    Raises InvalidOption for what can't be called then, or would be followed by itself for ever.
    """
    _refuse_circle(target, ())
    return _handlers_of(target)


def end_handler_of(target: Target, status: str) -> Target | None:
    """Return what is to be called when an attempt of `target` has ended with this status."""
    return _handlers_of(target).get(status)


def _handlers_of(target: Target) -> dict[str, Target]:
    given = {status: getattr(target.policy, option) for status, option in OPTION_OF.items()}
    return {status: _handler(target, status, one) for status, one in given.items() if one}


def _refuse_circle(target: Target, before: tuple[str, ...]) -> None:
    name = str(target.name._replace(target_pk=None))
    if name in before:
        path = " → ".join((*before[before.index(name) :], name))
        raise InvalidOption(
            f"on_failed, on_expired: these would follow each other for ever: {path}; leave the "
            "option of one of them out."
        )
    for handler in _handlers_of(target).values():
        _refuse_circle(handler, (*before, name))


def _handler(target: Target, status: str, given: str | Callable[..., Any]) -> Target:
    where = f"{OPTION_OF[status]} of {target.name._replace(target_pk=None)}"
    owner, _, method_name = _name_of(where, given).rpartition(".")
    try:
        handler = target_named(owner or target.name.target, method_name)
    except InvalidTarget as error:
        raise InvalidOption(f"{where}: {error}") from error
    if handler.needs_instance and not _has_instance_of(handler, target):
        raise InvalidOption(
            f"{where}: {handler.name} is a method of model instances, and {target.name.method_name}"
            " isn't one of the same model; give a function."
        )
    if not handler.signature.takes_positional:
        raise InvalidOption(
            f"{where}: {handler.name} takes no positional argument; its first one is the Ending."
        )
    if problem := _unfit(handler.policy):
        raise InvalidOption(
            f"{where}: {handler.name} has {problem}, which an attempt that follows another can't "
            "have; give a function without it."
        )
    return handler


def _name_of(where: str, given: str | Callable[..., Any]) -> str:
    if isinstance(given, str):
        return given
    name = own_name(underlying(given))
    if name is None or "<" in name:
        raise InvalidOption(f"{where}: give a function that a dotted name leads to, or that name.")
    return name


def _has_instance_of(handler: Target, target: Target) -> bool:
    return (
        target.needs_instance
        and target.model is not None
        and handler.model is not None
        and issubclass(target.model, handler.model)
    )


def _unfit(policy: Policy) -> str:
    """Return the option of a handler that needs a caller or the arguments, if it has one."""
    if policy.debounce is not None:
        return "debounce"
    if policy.throttle is not None:
        return "throttle"
    if policy.one_of is not None:
        return "one_of"
    return "a limit_key that is a function" if callable(policy.limit_key) else ""

"""Debounced and throttled targets whose calls nothing keeps apart: a mistake if they differ."""

from __future__ import annotations

from collections.abc import Iterator

from ..exceptions import InvalidTarget
from .decorator import registered
from .policy import Policy
from .target import target_named


def keyless_targets() -> Iterator[tuple[str, str]]:
    """Yield name and option of each target that takes arguments, and has no key."""
    for name, policy in registered().items():
        option = _keyless_option(policy)
        if option is not None and _takes_arguments(name):
            yield name, option


def _keyless_option(policy: Policy) -> str | None:
    if policy.key is not None:
        return None
    if policy.debounce is not None:
        return "debounce"
    return "throttle" if policy.throttle is not None else None


def _takes_arguments(dotted_name: str) -> bool:
    owner, _, method_name = dotted_name.rpartition(".")
    try:
        return target_named(owner, method_name).signature.takes_arguments
    except InvalidTarget:
        # Nothing can call it by this name, so nothing is debounced.
        return False

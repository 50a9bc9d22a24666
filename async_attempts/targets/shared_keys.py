"""The options by which many calls of one key become few attempts: debounce, throttle, one_of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from ..exceptions import InvalidOption
from .debounce import DEBOUNCE_OPTIONS, DebounceOptions, debounce_options_of
from .keys import key_text
from .one_of import ONE_OF_OPTIONS, OneOf, one_of_options_of
from .policy import Policy

KeyOptions: TypeAlias = DebounceOptions | OneOf

KEY_OPTIONS: Final = DEBOUNCE_OPTIONS + ONE_OF_OPTIONS
"""The options of a call; `@attemptable` takes them, too."""

_NOTHING_SAID: Final = Policy()


def key_options_of(policy: Policy, given: Mapping[str, Any]) -> KeyOptions | None:
    """Return the options of a call, else those of its target; None if neither has any.

    A call's own `debounce`, `throttle` or `one_of` replaces any of the target's; False turns the
    target's off. Raises InvalidOption, naming the option.
    """
    if not given and policy.one_of is None and policy.debounce is None is policy.throttle:
        return None
    said = [name for name in ("one_of", "debounce", "throttle") if _is_said(given.get(name))]
    if len(said) > 1 and "one_of" in said:
        raise _both(*said)
    debounce = debounce_options_of(_NOTHING_SAID if "one_of" in said else policy, given)
    one_of = one_of_options_of(policy if said in ([], ["one_of"]) else _NOTHING_SAID, given)
    return debounce or one_of


def check_key_options(policy: Policy) -> None:
    """Raise InvalidOption for options of a target that exclude each other, or belong to others."""
    options = DebounceOptions(
        debounce=policy.debounce,
        throttle=policy.throttle,
        max_wait=policy.max_wait,
        adaptive=policy.adaptive,
        key=policy.key,
    )
    if options.name is not None and policy.one_of is not None:
        raise _both("one_of", options.name)
    if options.name is not None and policy.delay is not None:
        raise InvalidOption(
            f"delay, {options.name}: both say when it is due; leave delay out, or {options.name}."
        )
    one_of_options_of(policy, {})
    for name in ("key", "one_of"):
        if isinstance(text := getattr(policy, name), str):
            key_text(name, text)


def _is_said(value: Any) -> bool:
    return value is not None and value is not False


def _both(*names: str) -> InvalidOption:
    return InvalidOption(
        f"{', '.join(names)}: an attempt has one of them; one_of allows one live attempt, debounce "
        "and throttle say when it begins."
    )

"""`one_of`: at most one live attempt of a key, and what becomes of a call while there is one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from ..exceptions import InvalidOption
from .keys import key_text
from .policy import WHEN_TAKEN, Policy, WhenTaken

ONE_OF_OPTIONS: Final = ("one_of", "when_taken")
"""The options of a call, and of `@attemptable`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OneOf:
    """The `one_of` of one call.

    `key`: text that keeps apart calls of one target, or a function that makes it of the arguments;
    None: all of them are together. `when_taken`: what becomes of a call that finds a live attempt.
    "keep": the attempt serves, unless it runs. "skip": it serves, also if it runs. "replace": an
    attempt that has never begun takes this call's arguments, options and time. "again": as "keep",
    but the new attempt begins only after the one that runs has ended.
    """

    name: ClassVar = "one_of"

    key: str | Callable[..., Any] | None = None
    when_taken: WhenTaken = WHEN_TAKEN[0]

    def __post_init__(self) -> None:
        if self.when_taken not in WHEN_TAKEN:
            raise InvalidOption(
                f"when_taken: must be one of {', '.join(WHEN_TAKEN)}, not {self.when_taken!r}."
            )


def one_of_options_of(policy: Policy, given: Mapping[str, Any]) -> OneOf | None:
    """Return the options of a call, else those of its target; None if neither has any.

    A call's own `one_of` replaces the target's; False turns it off. Raises InvalidOption.
    """
    key, when_taken = given.get("one_of"), given.get("when_taken")
    if key is None:
        key = policy.one_of
    elif key is not True and key is not False:
        key = key_text("one_of", key)
    if key is None or key is False:
        if when_taken is not None or (key is None and policy.when_taken is not None):
            raise InvalidOption("when_taken: belongs to one_of; say one_of=… with it.")
        return None
    if when_taken is None:
        when_taken = policy.when_taken
    return OneOf(key=None if key is True else key, when_taken=when_taken or WHEN_TAKEN[0])

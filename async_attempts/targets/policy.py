"""The options of a target's attempts, as its author gives them; the limit key of one attempt."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Literal, TypeAlias, TypedDict, get_args

from ..backoff import Backoff
from ..conf import IF_GONE, PRIORITY_RANGE
from ..exceptions import InvalidOption
from ..limits import MOST_AT_ONCE
from ..payload import Arguments
from ..values import CENTURY, is_storable, is_whole, text_key, whole
from .keys import made_key
from .names import TargetName, underlying

LIMIT_KEY_LENGTH: Final = 255

WhenTaken: TypeAlias = Literal["keep", "skip", "replace", "again"]
WHEN_TAKEN: Final[tuple[WhenTaken, ...]] = get_args(WhenTaken)


class EventOptions(TypedDict, total=False):
    """The options that `@on` takes, and `@attemptable`, too.

    `delay`, `expires_after`: seconds or a timedelta from the enqueueing. `timeout`: seconds or a
    timedelta for one execution.
    """

    queue: str | None
    priority: int | str | None
    delay: float | timedelta | None
    expires_after: float | timedelta | None
    max_attempts: int | None
    timeout: float | timedelta | None
    keep_result: bool | None


class TargetOptions(EventOptions, total=False):
    """The options that `@attemptable` takes.

    `atomic`: perform and record it in one database transaction. `debounce`, `throttle`,
    `max_wait`: seconds or a timedelta, `adaptive`: see `DebounceOptions`; `key`: text, or a
    function that makes it of the arguments, that keeps calls apart. `one_of`: such a key, or True
    for all calls, of which one attempt is live; `when_taken`: see `OneOf`. `concurrency`: how many
    attempts with one `limit_key` may run at once, 1 by default. `limit_key`: text, or a function
    that makes it of the arguments; without it, the function's own name. `aliases`: full dotted
    names that the function had before it was moved or renamed. `on_failed`, `on_expired`: another
    attemptable function, or its name, that is enqueued when an attempt has ended so.
    `on_subject_deleted`: "expire" ends attempts that haven't begun when the object that they are
    about is deleted. `if_gone`: "expire", "fail" or "ignore", when a model row that the attempt
    refers to does not exist. `expected`: exceptions that are answers, as `Refused` is: they fail
    the attempt at once. `max_crashes`: how many workers may die while an attempt is in flight
    before it fails; 1: it isn't repeated.
    """

    backoff: Backoff | None
    atomic: bool
    debounce: float | timedelta | None
    throttle: float | timedelta | None
    max_wait: float | timedelta | None
    adaptive: bool
    key: str | Callable[..., Any] | None
    one_of: bool | str | Callable[..., Any] | None
    when_taken: WhenTaken | None
    limit_key: str | Callable[..., Any] | None
    concurrency: int | None
    aliases: Iterable[str]
    on_failed: str | Callable[..., Any] | None
    on_expired: str | Callable[..., Any] | None
    on_subject_deleted: Literal["keep", "expire"]
    if_gone: str | None
    expected: tuple[type[Exception], ...]
    max_crashes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The options of a target's attempts; None leaves it to the row or the settings.

    `delay`, `expires_after`, `timeout`, `debounce`, `throttle`, `max_wait`: seconds. `queue` and
    the name of a `priority` are checked against the settings when an attempt is enqueued.
    `debounce` to `key`: see `DebounceOptions`. `one_of`, `when_taken`: see `OneOf`. `limit_key`,
    `concurrency`: see `limit_of`.
    Raises InvalidOption.
    """

    queue: str | None = None
    priority: int | str | None = None
    delay: float | None = None
    expires_after: float | None = None
    max_attempts: int | None = None
    backoff: Backoff | None = None
    timeout: float | None = None
    atomic: bool = False
    keep_result: bool | None = None
    debounce: float | None = None
    throttle: float | None = None
    max_wait: float | None = None
    adaptive: bool = False
    key: str | Callable[..., Any] | None = None
    one_of: bool | str | Callable[..., Any] | None = None
    when_taken: WhenTaken | None = None
    limit_key: str | Callable[..., Any] | None = None
    concurrency: int | None = None
    aliases: tuple[str, ...] = ()
    on_failed: str | Callable[..., Any] | None = None
    on_expired: str | Callable[..., Any] | None = None
    on_subject_deleted: Literal["keep", "expire"] = "keep"
    if_gone: str | None = None
    expected: tuple[type[Exception], ...] = ()
    max_crashes: int | None = None

    def __post_init__(self) -> None:
        for option, (expected, fits) in _RULES.items():
            value = getattr(self, option)
            if value is not None and not fits(value):
                raise InvalidOption(f"{option}: must be {expected}, not {value!r}.")


def _is_finite(value: object) -> bool:
    return isinstance(value, float) and 0 <= value < float("inf")


def _is_period(value: object) -> bool:
    return isinstance(value, float) and 0 < value <= CENTURY


def _is_bool(value: object) -> bool:
    return isinstance(value, bool)


def _is_named(value: object) -> bool:
    if isinstance(value, str):
        return all(part.isidentifier() for part in value.split("."))
    return callable(underlying(value))


def _is_key(value: object) -> bool:
    return callable(value) or isinstance(value, str)


def _are_errors(value: object) -> bool:
    """Return True for a tuple of exception classes, none of which would catch every bug."""
    return isinstance(value, tuple) and all(
        isinstance(one, type) and issubclass(one, Exception) and one is not Exception
        for one in value
    )


_RULES: Final[dict[str, tuple[str, Callable[[Any], bool]]]] = {
    "queue": ("a name", lambda v: isinstance(v, str)),
    "priority": (
        "a whole number from -100 to 100, or a name",
        lambda v: isinstance(v, str) or is_whole(v, PRIORITY_RANGE[0], PRIORITY_RANGE[-1]),
    ),
    "delay": ("zero or more seconds or a timedelta", _is_finite),
    "expires_after": ("seconds or a timedelta, over zero", lambda v: _is_finite(v) and v > 0),
    "timeout": ("seconds or a timedelta, over zero", lambda v: _is_finite(v) and v > 0),
    "debounce": ("seconds or a timedelta, over zero", _is_period),
    "throttle": ("seconds or a timedelta, over zero", _is_period),
    "max_wait": ("seconds or a timedelta, over zero", _is_period),
    "adaptive": ("True or False", _is_bool),
    "key": ("text, or a function that makes it of the arguments", _is_key),
    "one_of": (
        "True, text, or a function that makes it of the arguments",
        lambda v: v is True or _is_key(v),
    ),
    "when_taken": (f"one of {', '.join(WHEN_TAKEN)}", lambda v: v in WHEN_TAKEN),
    "limit_key": ("text, or a function that makes it of the arguments", _is_key),
    "concurrency": (
        f"a whole number from 1 to {MOST_AT_ONCE}",
        lambda v: is_whole(v, most=MOST_AT_ONCE),
    ),
    "max_attempts": ("a whole number, 1 or more", is_whole),
    "backoff": ("a Backoff", lambda v: isinstance(v, Backoff)),
    "atomic": ("True or False", _is_bool),
    "keep_result": ("True or False", _is_bool),
    "on_failed": ("an attemptable function, or its dotted name", _is_named),
    "on_expired": ("an attemptable function, or its dotted name", _is_named),
    "on_subject_deleted": ("'keep' or 'expire'", lambda v: v in ("keep", "expire")),
    "expected": ("a tuple of exception classes, Exception itself not among them", _are_errors),
    "if_gone": (" or ".join(map(repr, IF_GONE)), lambda v: isinstance(v, str) and v in IF_GONE),
    "max_crashes": ("a whole number, 1 or more", is_whole),
}


def limit_of(
    name: TargetName, policy: Policy, given: tuple[Any, Any], arguments: Arguments
) -> tuple[str, int | None]:
    """Return the limit key of an attempt, and how many with it may run at once; "": no limit.

    `given`: the call's own key and concurrency, "" and None by default; a key of False turns the
    author's off. If the author's key is a function, it is called with the attempt's arguments and
    returns None for no limit. A concurrency without a key limits the target's own attempts. Raises
    InvalidOption, naming the option.
    """
    key, concurrency = given
    if key == "" and concurrency is None and policy.limit_key is None is policy.concurrency:
        return "", None
    if key is False:
        if concurrency is not None:
            raise InvalidOption("concurrency: limit_key=False turns the limit off; leave one out.")
        return "", None
    if concurrency is None:
        concurrency = policy.concurrency
    else:
        expected = f"a whole number from 1 to {MOST_AT_ONCE}"
        whole("concurrency:", concurrency, InvalidOption, expected, most=MOST_AT_ONCE)
    own_name = str(name)
    if key == "" and callable(key := policy.limit_key):
        key = made_key("limit_key", key, own_name, arguments)
        if key is None:
            return "", None
    return _text(own_name if key is None else key), concurrency or 1


def _text(key: Any) -> str:
    text = text_key("limit_key:", key, InvalidOption)
    if not 0 < len(text) <= LIMIT_KEY_LENGTH or not is_storable(text):
        raise InvalidOption(
            f"limit_key: must have 1 to {LIMIT_KEY_LENGTH} characters, no NUL and no lone "
            "surrogate; give a shorter one."
        )
    return text

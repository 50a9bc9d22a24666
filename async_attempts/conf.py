"""The setting `ASYNC_ATTEMPTS`, read into one frozen, validated value.

`settings()` gives the current one; it follows `override_settings`.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from types import MappingProxyType
from typing import Annotated, Any, Final, TypeVar, cast, get_type_hints

from django.conf import settings as django_settings
from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from .cron import Cron
from .exceptions import InvalidOption, InvalidSetting
from .intervals import interval_of, require_one
from .limits import Limits, limits_of, read_queue
from .plaintext import hides_arguments
from .queue_defaults import QueueDefaults
from .retention import DEFAULT, Keep, Retention, read_keep
from .suggestions import refuse_alike, refuse_unknown, suggestion
from .values import flag, seconds, whole

SETTING: Final = "ASYNC_ATTEMPTS"
MODEL_SETTING: Final = "ASYNC_ATTEMPTS_ATTEMPT_MODEL"
DEFAULT_MODEL: Final = "async_attempts.Attempt"

PRIORITY_RANGE: Final = range(-100, 101)
POSITIVE: Final = "seconds, more than 0 and at most a hundred years"
DEFAULT_QUEUE: Final = "default"
QUEUE_LENGTH: Final = 64
SCHEDULE_LENGTH: Final = 255
CATCH_UP: Final = ("latest", "none")
OVERLAP: Final = ("allow", "skip")
IF_GONE: Final = ("expire", "fail", "ignore")
SCHEDULE_OPTIONS: Final = frozenset(
    "cron every timezone target method_args catch_up overlap queue priority expires timeout "
    "max_attempts keep_result metadata limit_key".split()
)
IDLE_QUEUE_OPTIONS: Final = frozenset({"relay"})


_Function = TypeVar("_Function", bound=Callable[..., Any])

_caches: Final[defaultdict[str, list[Callable[[], object]]]] = defaultdict(list)
"""The functions that empty the caches that depend on a setting, by its name."""


def cached(*names: str) -> Callable[[_Function], _Function]:
    """Decorate a function: its values are kept until one of these settings changes.

    Its arguments are few, and hashable. Exceptions aren't kept.
    """

    def decorated(function: _Function) -> _Function:
        kept = lru_cache(maxsize=None)(function)
        forget_on(kept.cache_clear, *names)
        return cast("_Function", kept)

    return decorated


def forget_on(forget: Callable[[], object], *names: str) -> None:
    """Call `forget` when one of these settings changes, as `override_settings` says."""
    for name in names:
        _caches[name].append(forget)


def _changed(*, setting: str, **_: object) -> None:
    for forget in _caches.get(setting, ()):
        forget()


setting_changed.connect(_changed)


def attempt_model_name() -> str:
    """Return the label ("app.Model") of the attempt model in use."""
    if not hasattr(django_settings, MODEL_SETTING):
        # Django's own code reads a swappable model's setting without a default.
        setattr(django_settings, MODEL_SETTING, DEFAULT_MODEL)
    return str(getattr(django_settings, MODEL_SETTING))


def _wrong(path: str, expected: str, value: object) -> InvalidSetting:
    return InvalidSetting(f"{path} must be {expected}, not {value!r}.")


_count: Final = partial(whole, error=InvalidSetting)
_seconds: Final = partial(seconds, error=InvalidSetting, expected=POSITIVE)
_flag: Final = partial(flag, error=InvalidSetting)


def _names(path: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(v, str) for v in value):
        raise InvalidSetting(f"{path} must be a list of strings.")
    return tuple(value)


def _text(path: str, value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise _wrong(path, "a name", value)
    return value


def _path(path: str, value: Any) -> str | None:
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if value is not None and (not isinstance(value, str) or not value):
        raise _wrong(path, "the path of a file, or None", value)
    return value


def _dsn(path: str, value: Any) -> str | None:
    if value is not None and (not isinstance(value, str) or not value):
        # Not shown: it may hold a password.
        raise InvalidSetting(f"{path} must be a connection string or URL, or None.")
    return value


def _if_gone(path: str, value: Any) -> str:
    if value not in IF_GONE:
        raise _wrong(path, " or ".join(map(repr, IF_GONE)), value)
    return str(value)


def _callable(path: str, value: Any) -> Callable[..., object] | None:
    if isinstance(value, str):
        try:
            value = import_string(value)
        except ImportError as error:
            raise InvalidSetting(f"{path}: {error}") from error
    if value is not None and not callable(value):
        raise _wrong(path, "a callable or its dotted name", value)
    found: Callable[..., object] | None = value
    return found


def _queues(path: str, value: Any) -> Mapping[str, Mapping[str, Any]]:
    if not isinstance(value, Mapping) or not value:
        raise _wrong(path, "a dict of queue names to their options, at least one", value)
    for name in value:
        is_name = isinstance(name, str) and 0 < len(name) <= QUEUE_LENGTH
        if not is_name or "," in name or name == "*":
            raise _wrong(path, "a dict whose names have 1 to 64 characters, no comma", name)
    refuse_alike(path, value, InvalidSetting)
    return MappingProxyType({name: read_queue(f"{path}[{name!r}]", o) for name, o in value.items()})


def _priorities(path: str, value: Any) -> Mapping[str, int]:
    if not isinstance(value, Mapping) or not all(
        isinstance(n, str) and type(p) is int and p in PRIORITY_RANGE for n, p in value.items()
    ):
        raise _wrong(path, "a dict of names to whole numbers from -100 to 100", value)
    return MappingProxyType(dict(value))


def _keep(path: str, value: Any) -> Mapping[str, Keep]:
    return MappingProxyType({**DEFAULT, **read_keep(path, value)})


def _schedules(path: str, value: Any) -> Mapping[str, Mapping[str, Any]]:
    if not isinstance(value, Mapping):
        # Not shown: it may hold arguments.
        raise InvalidSetting(f"{path} must be a dict of names to schedules.")
    for name, options in value.items():
        if not isinstance(name, str) or not 0 < len(name) <= SCHEDULE_LENGTH:
            raise _wrong(path, f"a dict whose names have 1 to {SCHEDULE_LENGTH} characters", name)
        _check_schedule(f"{path}[{name!r}]", options)
    return MappingProxyType({name: MappingProxyType(dict(o)) for name, o in value.items()})


def _check_schedule(path: str, options: Any) -> None:
    if not isinstance(options, Mapping):
        raise InvalidSetting(f"{path} must be a dict, not {type(options).__name__}.")
    refuse_unknown(path, options, SCHEDULE_OPTIONS, InvalidSetting)
    if not isinstance(options.get("target"), str):
        raise InvalidSetting(f"{path}['target'] must be given, as a string.")
    if not isinstance(options.get("cron"), str) and options.get("every") is None:
        raise InvalidSetting(f"{path}['cron'] must be given, as a string, or else 'every'.")
    for option, words in (("catch_up", CATCH_UP), ("overlap", OVERLAP)):
        if options.get(option, words[0]) not in words:
            raise InvalidSetting(f"{path}[{option!r}] must be {' or '.join(map(repr, words))}.")
    zone = options.get("timezone")
    try:
        require_one(options.get("cron"), every := options.get("every"))
        if every is not None:
            interval_of(every)
        Cron(options.get("cron") or "@daily", "UTC" if zone is None else zone)
    except InvalidOption as error:
        part, _, text = str(error).partition(": ")
        raise InvalidSetting(f"{path}[{part!r}]: {text}") from None


def _routes(path: str, value: Any) -> Mapping[str, str]:
    if not isinstance(value, Mapping):
        raise _wrong(path, "a dict of dotted names or globs to queues", value)
    for pattern in value:
        if not isinstance(pattern, str) or not pattern:
            raise _wrong(path, "a dict whose keys are dotted names or globs", pattern)
    return MappingProxyType(dict(value))


def _realm(path: str, value: Any) -> str | Mapping[str, str]:
    given = value if isinstance(value, Mapping) else {"": value}
    for alias, realm in given.items():
        if not isinstance(alias, str) or not isinstance(realm, str):
            raise _wrong(path, "a string, or a dict of databases' aliases to strings", value)
    return value if isinstance(value, str) else MappingProxyType(dict(value))


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The values of `ASYNC_ATTEMPTS`, with defaults for those left out; times in seconds.

    Beside the type of each stands the function that reads it.
    """

    KEYS: Annotated[tuple[str, ...], _names] = field(default=(), repr=False)
    KEYS_FILE: Annotated[str | None, _path] = None
    CIPHER: Annotated[str | None, _text] = None
    RECIPIENTS: Annotated[tuple[str, ...], _names] = ()
    PRIVATE_KEYS: Annotated[tuple[str, ...], _names] = field(default=(), repr=False)
    PRIVATE_KEYS_FILE: Annotated[str | None, _path] = None
    TARGETS: Annotated[tuple[str, ...], _names] = ()
    QUEUES: Annotated[Mapping[str, Mapping[str, Any]], _queues] = field(
        default_factory=lambda: MappingProxyType({DEFAULT_QUEUE: MappingProxyType({})})
    )
    ROUTES: Annotated[Mapping[str, str], _routes] = field(
        default_factory=lambda: MappingProxyType({})
    )
    PRIORITIES: Annotated[Mapping[str, int], _priorities] = field(
        default_factory=lambda: MappingProxyType({"low": -50, "normal": 0, "high": 50})
    )
    DEFAULT_MAX_ATTEMPTS: Annotated[int, _count] = 25
    DEFAULT_TIMEOUT: Annotated[float, _seconds] = 300.0
    TIMEOUT_GRACE: Annotated[float, _seconds] = 5.0
    MAX_ARGS_BYTES: Annotated[int, _count] = 65_536
    LEASE: Annotated[float, _seconds] = 30.0
    POLL_INTERVAL: Annotated[float | None, _seconds] = None
    NOTIFY: Annotated[bool, _flag] = True
    LISTEN_DSN: Annotated[str | None, _dsn] = field(default=None, repr=False)
    MAX_CRASHES: Annotated[int, _count] = 3
    KEEP: Annotated[Mapping[str, Keep], _keep] = field(default_factory=lambda: DEFAULT)
    IF_GONE: Annotated[str, _if_gone] = "expire"
    ON_ERROR: Annotated[Callable[..., object] | None, _callable] = None
    METRICS: Annotated[Callable[..., object] | None, _callable] = None
    SCHEDULES: Annotated[Mapping[str, Mapping[str, Any]], _schedules] = field(
        default_factory=dict, repr=False
    )
    DATABASE: Annotated[str | None, _text] = None
    REALM: Annotated[str | Mapping[str, str], _realm] = ""

    def __post_init__(self) -> None:
        for keys, file in (("KEYS", "KEYS_FILE"), ("PRIVATE_KEYS", "PRIVATE_KEYS_FILE")):
            if getattr(self, keys) and getattr(self, file) is not None:
                raise InvalidSetting(
                    f"{SETTING}[{keys!r}] and {SETTING}[{file!r}] are both given: leave one of "
                    "them out, or empty."
                )
        for pattern, queue in self.ROUTES.items():
            self._check(f"{SETTING}['ROUTES'][{pattern!r}]", self.queue, queue)
        for name, options in self.QUEUES.items():
            if "priority" in (defaults := options.get("defaults", {})):
                path = f"{SETTING}['QUEUES'][{name!r}]['defaults']['priority']"
                self._check(path, self.priority, defaults["priority"])

    @staticmethod
    def _check(path: str, check: Callable[[Any], object], value: object) -> None:
        """Raise InvalidSetting for what `check` refuses."""
        try:
            check(value)
        except InvalidOption as error:
            raise InvalidSetting(f"{path}: {error}") from None

    def priority(self, value: int | str) -> int:
        """Return the number of a priority or of a priority's name. Raises InvalidOption."""
        if isinstance(value, str):
            try:
                return self.PRIORITIES[value]
            except KeyError:
                raise InvalidOption(
                    f"priority: {value!r} is not a name in PRIORITIES; "
                    f"{suggestion(value, self.PRIORITIES)}."
                ) from None
        if type(value) is not int or value not in PRIORITY_RANGE:
            raise InvalidOption(
                f"priority: must be a whole number from -100 to 100, higher first, not {value!r}."
            )
        return value

    def queue(self, name: Any) -> str:
        """Return `name`, a declared queue. Raises InvalidOption."""
        if isinstance(name, str) and name in self.QUEUES:
            return name
        raise InvalidOption(
            f"queue: {name!r} is not declared in {SETTING}['QUEUES']; "
            f"{suggestion(str(name), self.QUEUES)}."
        )


@cached(SETTING)
@hides_arguments
def settings() -> Settings:
    """Return the settings in force. Raises InvalidSetting, naming the key and the remedy."""
    given = getattr(django_settings, SETTING, {})
    if not isinstance(given, Mapping):
        raise InvalidSetting(f"{SETTING} must be a dict, not {type(given).__name__}.")
    hints = get_type_hints(Settings, include_extras=True)
    readers = {key: hint.__metadata__[0] for key, hint in hints.items()}
    refuse_unknown(SETTING, given, readers, InvalidSetting)
    return Settings(**{k: readers[k](f"{SETTING}[{k!r}]", v) for k, v in given.items()})


@cached(SETTING)
def retention() -> Retention:
    """Return the retention that the settings ask for. Raises InvalidSetting."""
    queues = settings().QUEUES.items()
    return Retention(settings().KEEP, {name: o["keep"] for name, o in queues if "keep" in o})


@cached(SETTING)
def limits() -> Mapping[str, Limits]:
    """Return the limits of each queue. Raises InvalidSetting."""
    return {name: limits_of(options) for name, options in settings().QUEUES.items()}


@cached(SETTING)
def defaults_of(queue: str) -> QueueDefaults:
    """Return the defaults of a queue's attempts: its own, else those of all queues.

    Raises InvalidSetting.
    """
    common = settings()
    own: Mapping[str, Any] = common.QUEUES.get(queue, {}).get("defaults", {})
    of_backoff = own["backoff"].max_attempts if "backoff" in own else None
    of_all_queues = {
        "max_attempts": of_backoff or common.DEFAULT_MAX_ATTEMPTS,
        "timeout": common.DEFAULT_TIMEOUT,
        "max_crashes": common.MAX_CRASHES,
    }
    return QueueDefaults(**{**of_all_queues, **own})


@cached(SETTING)
def bounded_queues() -> Mapping[str, int]:
    """Return `max_pending` of the queues that have one. Raises InvalidSetting."""
    return {name: one.max_pending for name, one in limits().items() if one.max_pending}


@cached(SETTING)
def realm_of(alias: str) -> str:
    """Return the realm that values on this database are sealed for. Raises InvalidSetting."""
    given = settings().REALM
    if isinstance(given, str):
        return given
    try:
        return given[alias]
    except KeyError:
        raise InvalidSetting(
            f"{SETTING}['REALM'] names no realm for the database {alias!r}; add it."
        ) from None

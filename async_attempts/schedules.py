"""Recurring schedules: their declarations in code and settings, and operators' verbs."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar, Unpack, cast
from uuid import UUID

from .conf import settings
from .exceptions import AttemptsError, InvalidOption, InvalidTarget
from .intervals import interval_of, require_one
from .payload import Arguments
from .plaintext import hides_arguments
from .printable import printable
from .targets import module_load_id, own_name, underlying
from .targets.declared_schedule import DeclaredSchedule
from .targets.schedule_options import OPTIONS, ScheduleOptions

if TYPE_CHECKING:
    from .models import Attempt
    from .store import Store

Function = TypeVar("Function", bound="Callable[..., Any] | classmethod[Any, ..., Any]")

logger = logging.getLogger("async_attempts")

_in_code: Final[dict[str, DeclaredSchedule]] = {}
_load_ids: Final[dict[str, object]] = {}


@hides_arguments
def recurring(
    cron: str | None = None,
    /,
    *,
    every: float | timedelta | None = None,
    name: str | None = None,
    method_args: Any = None,
    timezone: str | None = None,
    catch_up: str = "latest",
    overlap: str = "allow",
    queue: str | None = None,
    priority: int | str | None = None,
    **options: Unpack[ScheduleOptions],
) -> Callable[[Function], Function]:
    """Decorate an `@attemptable` target: workers enqueue it at each tick of `cron`.

    `cron`: five fields, six with seconds last, or `@daily` and its like. `every`, in its place:
    whole seconds or a timedelta, counted from when the schedule was first declared. `name`: the
    target's dotted name by default; a target may have several schedules, each with a name.
    `method_args`: as `Attempt.objects.create` takes them. `timezone`: the setting TIME_ZONE by
    default. `catch_up`: "latest" enqueues the latest tick that was missed while no worker ran,
    "none" leaves it out. `overlap`: "skip" leaves a tick out while the last attempt hasn't ended.
    `queue`, `priority`, and what `ScheduleOptions` names: as the target's policy says by default.

    Raises InvalidOption, InvalidArguments, InvalidTarget, naming the part.
    """
    arguments = Arguments.of(method_args)

    def decorate(function: Any) -> Any:
        target = own_name(underlying(function))
        if target is None or "<" in target:
            raise InvalidTarget(
                f"@recurring: {target or type(function).__name__} has no name that leads to it; "
                "define it with def in its module or class."
            )
        declared = DeclaredSchedule(
            name=target if name is None else name,
            cron=cron,
            every=cast("timedelta | None", every),
            target=target,
            timezone=timezone,
            arguments=arguments,
            catch_up=catch_up,
            overlap=overlap,
            queue=queue,
            priority=priority,
            options=options,
        )
        _put(declared, module_load_id(function))
        return function

    return decorate


def _put(declared: DeclaredSchedule, load_id: object) -> None:
    """Declare a schedule, or replace it if its module was loaded again. Raises InvalidOption."""
    name, target = declared.name, declared.target
    holder = _in_code.get(name, declared)
    if holder.target != target:
        raise InvalidOption(
            f"name: {name!r} is the schedule of {holder.target} already; give {target} another."
        )
    if holder != declared and load_id is not None and load_id is _load_ids.get(name):
        raise InvalidOption(
            f"name: {target} has two schedules named {name!r}; give the second a name of its own."
        )
    _in_code[name], _load_ids[name] = declared, load_id


def declared_in_code() -> dict[str, DeclaredSchedule]:
    """Return the schedules that `@recurring` declares in the imported modules, by name."""
    return dict(_in_code)


@hides_arguments
def declared_in_settings() -> dict[str, DeclaredSchedule]:
    """Return the setting's schedules, by name. Raises InvalidArguments, InvalidOption."""
    declared = {}
    for name, options in settings().SCHEDULES.items():
        given = dict(options)
        arguments = Arguments.of(given.pop("method_args", None))
        of_attempts = {option: given.pop(option) for option in OPTIONS if option in given}
        declared[name] = DeclaredSchedule(
            name=name, arguments=arguments, source="settings", options=of_attempts, **given
        )
    return declared


def declared() -> dict[str, DeclaredSchedule]:
    """Return the schedules of code and settings, by name; the settings take precedence."""
    return declared_in_code() | declared_in_settings()


def require_enqueueable(schedule: DeclaredSchedule) -> None:
    """Raise what enqueueing would: InvalidTarget, InvalidArguments, InvalidOption."""
    # Late, as in `_store`.
    from .models.validation import check_metadata

    schedule.require_enqueueable()
    check_metadata(schedule.options.get("metadata", {}))


def declare(store: Store) -> frozenset[str]:
    """Write the declared schedules to their rows; return the names that this code can enqueue.

    A schedule that can't be enqueued is logged and left out. Only the home database has schedules:
    else the workers of two databases would enqueue each tick twice.
    """
    from .models import home_database

    enqueueable: dict[str, DeclaredSchedule] = {}
    if store.database.alias != home_database():
        store.schedules.declare(enqueueable)
        return frozenset()
    for name, schedule in declared().items():
        try:
            require_enqueueable(schedule)
        except AttemptsError as error:
            logger.error("schedule %s: left out: %s", name, error.in_clear)
        else:
            enqueueable[name] = schedule
    refused = store.schedules.declare(enqueueable)
    for name in sorted(refused):
        logger.error(
            "schedule %s: left out: name: it is another schedule's, which was made by code for a "
            "row, or which the database takes for the same; give it one that differs in more than "
            "case and accents",
            name,
        )
    return frozenset(enqueueable.keys() - refused)


def pause(name: str, *, database: str | None = None) -> None:
    """Stop enqueueing for this schedule until it is resumed. Raises InvalidOption."""
    _store(database).schedules.pause([_id_of(name, database)])


def resume(name: str, *, database: str | None = None) -> None:
    """Resume with the next tick; the ticks since the pause are left out. Raises InvalidOption."""
    _store(database).schedules.resume([_id_of(name, database)])


def enqueue_now(name: str, *, database: str | None = None) -> Attempt:
    """Enqueue an attempt of this schedule, paused or not, beside its ticks.

    Raises InvalidOption for an unknown name, and what `enqueue` raises.
    """
    attempt = _store(database).schedules.enqueue_now(_id_of(name, database))
    return cast("Attempt", attempt)


def override(
    name: str,
    *,
    cron: str | None = None,
    every: float | timedelta | None = None,
    database: str | None = None,
) -> None:
    """Give a schedule that code or the settings declare other times, until `back_to_code`.

    Raises InvalidOption for what can't be, and for a name that this process doesn't declare.
    """
    require_one(cron, every)
    own = None if every is None else interval_of(every)
    _store(database).schedules.declared.override(declaration_of(name), (cron or "", own))


def back_to_code(name: str, *, database: str | None = None) -> None:
    """Give it the times again that its code says. Raises InvalidOption."""
    _store(database).schedules.declared.back_to_code(declaration_of(name))


def declaration_of(name: str) -> DeclaredSchedule:
    """Return the declaration in this process's code or settings. Raises InvalidOption."""
    known = declared()
    if name not in known:
        names = ", ".join(map(printable, sorted(known))) or "none"
        raise InvalidOption(f"name: {name!r} is declared by no code here; there are: {names}.")
    require_enqueueable(known[name])
    return known[name]


def _store(database: str | None) -> Store:
    # Late, so that `recurring` can be imported before the models are.
    from .models import home_database
    from .store import store_for

    return store_for(database or home_database())


def _id_of(name: str, database: str | None) -> UUID:
    schedules = _store(database).database.schedules
    if (pk := schedules.filter(name=name).values_list("pk", flat=True).first()) is None:
        names = schedules.order_by("name").values_list("name", flat=True)
        known = ", ".join(map(printable, names)) or "none"
        raise InvalidOption(f"name: {name!r} is no schedule; there are: {known}.")
    return pk

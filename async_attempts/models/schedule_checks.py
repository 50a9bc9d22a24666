"""Checks of a schedule that code makes or changes, before it is written."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from ..exceptions import InvalidOption, InvalidTarget
from ..ids import uuid7
from ..intervals import interval_of
from ..payload import Arguments
from ..targets import target_of
from .validation import check_metadata, check_moment

DECLARED: Final = ("in code", "settings")
NAMED_AFTER: Final = 200
"""The characters of the target's name in a name that is made up."""


def check_new(schedule: Any) -> Arguments:
    """Check a new schedule, and fill in its columns but the arguments, which are returned.

    Raises InvalidOption, InvalidTarget, InvalidArguments.
    """
    if schedule.args:
        raise InvalidOption(
            "args: is the column of the encrypted arguments; give them as method_args."
        )
    schedule.id = schedule.id or uuid7()
    _name_target(schedule)
    if schedule.name in (None, ""):
        schedule.name = f"{schedule.target[:NAMED_AFTER]} {schedule.id}"
    arguments: Arguments = schedule._plain or Arguments()
    _check(schedule, arguments, has_new_call=True)
    return arguments


def check_changed(schedule: Any, old: Any) -> bool:
    """Check a schedule whose row is `old` now; return True if its arguments were sealed again.

    Raises as `check_new`, and what `Schedule.plaintext` raises.
    """
    if old.source in DECLARED:
        raise InvalidOption(
            f"{schedule}: it is declared {old.source}; change it there, or its times by "
            "async_attempts.schedules.override()."
        )
    schedule.source = old.source
    _name_target(schedule)
    arguments = schedule._plain
    is_other_call = schedule.target != old.target
    if arguments is None and is_other_call:
        arguments = old.arguments
    has_new_call = arguments is not None
    _check(schedule, arguments or Arguments(), has_new_call=has_new_call)
    if has_new_call:
        # What the table says of it is sealed anew: it must be what was sealed before.
        old.plaintext()
        schedule.seal(arguments)
    elif schedule.context() != old.context():
        schedule.seal_plaintext(old.plaintext())
    else:
        return False
    return True


def _name_target(schedule: Any) -> None:
    """Put the dotted name in the place of a target that is given in another way."""
    given, method_name = schedule.target, schedule._method_name
    if isinstance(given, str) and method_name is None:
        return
    name = target_of(given, method_name).name
    if name.target_pk is not None:
        raise InvalidTarget(
            "target: a schedule calls a function, or a static or class method; give it the "
            "instance as an argument, and as its subject."
        )
    schedule.target, schedule._method_name = f"{name.target}.{name.method_name}", None


def _check(schedule: Any, arguments: Arguments, *, has_new_call: bool) -> None:
    if schedule.until is not None:
        if not isinstance(schedule.until, datetime):
            kind = type(schedule.until).__name__
            raise InvalidOption(f"until: must be an aware datetime or None, not {kind}.")
        check_moment("until", schedule.until)
    if schedule.every is not None:
        schedule.every = interval_of(schedule.every)
    # So that the default is the one of a schedule that is declared.
    schedule.cron, schedule.timezone = schedule.cron or None, schedule.timezone or None
    schedule.queue = schedule.queue or None
    declared = schedule.declared(arguments)
    if has_new_call:
        declared.require_enqueueable()
    else:
        declared.require_options()
    check_metadata(declared.options.get("metadata", {}))
    for column, value in declared.columns().items():
        setattr(schedule, column, value)

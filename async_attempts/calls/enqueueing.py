"""The functions that enqueue one call without options."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ParamSpec

from ..payload import Arguments
from .flow import call
from .rows import write_plain

if TYPE_CHECKING:
    from ..models import Attempt

P = ParamSpec("P")


def enqueue(target: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> Attempt:
    """Write an attempt to call `target` with these arguments, in the caller's transaction.

    It is performed if and only if that transaction commits. With an idempotence token that is
    taken, the existing row is returned, with `created` False.
    Raises InvalidTarget, InvalidArguments (UnsupportedType), InvalidOption, WrongTransaction;
    nothing is written then and the transaction stays usable.
    """
    arguments = Arguments(*args, **kwargs)
    del args, kwargs  # An error report would show them.
    return write_plain(target, arguments, None)


async def aenqueue(target: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> Attempt:
    """Enqueue in async code, where Django opens no transaction."""
    made = call(target, *args, **kwargs)
    del args, kwargs
    return await made.aenqueue()


def schedule(
    when: datetime | timedelta, target: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs
) -> Attempt:
    """Enqueue, to be performed at an aware datetime, or a timedelta from the database's now."""
    made = call(target, *args, **kwargs)
    del args, kwargs
    return made.using(scheduled_at=when).enqueue()

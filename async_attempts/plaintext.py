"""Protection of plaintext from error reports: in bytes, and in the frames of a traceback.

Error reporters call `repr()` on the local variables of every frame that a traceback leads through.
So plaintext has a type whose repr is its size; and a function that holds arguments clears them from
its frame and the frames below it before an exception leaves it. File names, line numbers and the
exceptions themselves stay.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import wraps
from inspect import CO_ASYNC_GENERATOR, CO_COROUTINE, CO_GENERATOR, iscoroutinefunction
from types import FrameType
from typing import Any, Final, ParamSpec, TypeVar, cast

P = ParamSpec("P")
R = TypeVar("R")

LIBRARIES: Final = frozenset({"async_attempts", "asgiref", "cryptography", "django"})
"""Packages whose functions the package hands arguments to, beside Python's own modules."""

GENERATORS: Final = CO_GENERATOR | CO_COROUTINE | CO_ASYNC_GENERATOR


class Plaintext(bytes):
    """Bytes before sealing or after opening; their repr is `<sealed 48 bytes>`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<sealed {len(self)} bytes>"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)


def hide_values(error: BaseException) -> None:
    """Clear all frames that `error` came through below the function that caught it.

    The frames of the errors that led to it are cleared, too, except of one that the caller was
    handling before. A frame that still runs stays as it is, so the function that calls this deletes
    its own variables.
    """
    _clear(error, sys._getframe(1), lambda _frame: True)


def hide_own_values(error: BaseException) -> None:
    """Clear frames as `hide_values` does, except those of the project's functions."""
    _clear(error, sys._getframe(1), _is_own)


def hides_arguments(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function: an exception that leaves it doesn't show its arguments."""
    if iscoroutinefunction(function):

        async def awaiting(*args: Any, **kwargs: Any) -> Any:
            try:
                return await function(*args, **kwargs)
            except BaseException as error:
                del args, kwargs
                hide_own_values(error)
                raise

        return cast("Callable[P, R]", wraps(function)(awaiting))
    return _hiding(function, hide_own_values)


def hides_values(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function: an exception that leaves it shows no value of it, or below it."""
    return _hiding(function, hide_values)


def _hiding(function: Callable[P, R], hide: Callable[[BaseException], None]) -> Callable[P, R]:
    def calling(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except BaseException as error:
            del args, kwargs
            hide(error)
            raise

    return wraps(function)(calling)


def _clear(
    error: BaseException, border: FrameType, is_to_be_cleared: Callable[[FrameType], bool]
) -> None:
    running = set(_with_callers(border))
    callers = running - {border}
    waiting: list[BaseException | None] = [error]
    seen: set[int] = set()
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        frames = list(_frames(one))
        if one is not error and frames and frames[0] in callers:
            # The caller was handling this one already: its frames are the caller's.
            continue
        if one is not error and frames and frames[0].f_code.co_flags & GENERATORS:
            # A generator that has caught this one may go on. What it raised leads through it, too.
            del frames[0]
        for frame in frames:
            if frame not in running and is_to_be_cleared(frame):
                with suppress(RuntimeError):  # the frame runs in another thread
                    frame.clear()
        waiting += (one.__cause__, one.__context__)
        if isinstance(one, BaseExceptionGroup):
            waiting += one.exceptions


def _with_callers(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _frames(error: BaseException) -> Iterator[FrameType]:
    traceback = error.__traceback__
    while traceback is not None:
        yield traceback.tb_frame
        traceback = traceback.tb_next


def _is_own(frame: FrameType) -> bool:
    package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
    return package in LIBRARIES or package in sys.stdlib_module_names

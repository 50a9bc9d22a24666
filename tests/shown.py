"""What error reporters show of an exception: as Sentry's, and Django's pages and mails, do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from types import FrameType, TracebackType
from typing import Any

from django.test import RequestFactory, override_settings
from django.views.debug import ExceptionReporter

CANARY = "c4n4ry_in_the_mine"
DEEPEST = 6


def shown_by(error: BaseException, *, but: str = "") -> list[str]:
    """Where the canary is shown: as "function: variable", or in which error's own text.

    `but`: a module, whose functions were given it on purpose.
    """
    shown = [
        f"{frame.f_code.co_qualname}: {variable}"
        for frame in _frames(error)
        for variable, value in list(frame.f_locals.items())
        if frame.f_globals["__name__"] != but and any(CANARY in text for text in _texts(value))
    ]
    return [*shown, *_errors(error)]


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and all that led to it, also what `from None` leaves out."""
    seen: list[BaseException] = []
    waiting = [error]
    while waiting:
        one = waiting.pop()
        if one is None or any(one is other for other in seen):
            continue
        seen.append(one)
        waiting += [one.__cause__, one.__context__]
        if isinstance(one, BaseExceptionGroup):
            waiting += one.exceptions
    yield from seen


def _frames(error: BaseException) -> Iterator[FrameType]:
    for one in _chain(error):
        traceback: TracebackType | None = one.__traceback__
        while traceback is not None:
            yield traceback.tb_frame
            traceback = traceback.tb_next


def _texts(value: Any, depth: int = 0) -> Iterator[str]:
    """Sentry goes into what holds others, and takes the repr of the rest."""
    if depth < DEEPEST and isinstance(value, Mapping):
        for key, item in value.items():
            yield from _texts(key, depth + 1)
            yield from _texts(item, depth + 1)
    elif isinstance(value, str | bytes) or depth >= DEEPEST:
        yield _repr(value)
    elif isinstance(value, Sequence | AbstractSet):
        for item in value:
            yield from _texts(item, depth + 1)
    else:
        yield _repr(value)


def _repr(value: Any) -> str:
    try:
        return repr(value)
    except Exception as error:  # noqa: BLE001 - as a reporter does
        return f"<broken: {type(error).__name__}>"


def _errors(error: BaseException) -> Iterator[str]:
    """Errors that hold a text themselves, such as the one of what can't be decoded."""
    for one in _chain(error):
        if any(CANARY in _repr(part) for part in (*one.args, *vars(one).values())):
            yield f"{type(one).__name__}: its own text"


def reports_showing(error: BaseException) -> Iterator[str]:
    """Which reports of Django's have the canary."""
    for debug in (False, True):
        with override_settings(DEBUG=debug):
            request = RequestFactory().get("/")
            report = ExceptionReporter(request, type(error), error, error.__traceback__)
            if CANARY in report.get_traceback_html():
                yield f"Django's page with DEBUG={debug}"
            if CANARY in report.get_traceback_text():
                yield f"Django's text with DEBUG={debug}"

"""Attempts for the worker's tests: enqueued, drained, and read again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from django.core.management import call_command

from async_attempts import Attempt, call
from async_attempts.models import DatabaseNow


def enqueued(
    database: str, target: Any, *args: Any, options: dict[str, Any] | None = None, **kwargs: Any
) -> Attempt:
    """An attempt of `target` with these arguments, committed."""
    return call(target, *args, **kwargs).using(database=database, **(options or {})).enqueue()


def drain(database: str, **options: Any) -> None:
    """Perform what is due, in this process."""
    call_command("run_attempts", drain=True, database=database, **{"verbosity": 0, **options})


def performed(
    database: str, target: Any, *args: Any, options: dict[str, Any] | None = None, **kwargs: Any
) -> Any:
    """An attempt of `target`, enqueued, and as it is after a drain."""
    attempt = enqueued(database, target, *args, options=options, **kwargs)
    drain(database)
    return stored(attempt)


def stored(attempt: Attempt) -> Any:
    """The attempt as the database has it now."""
    return Attempt.objects.using(attempt._state.db).get(pk=attempt.pk)


def states(database: str) -> list[str]:
    """The states of all attempts, in the order of their creation."""
    return [attempt.state for attempt in Attempt.objects.using(database).order_by("id")]


def failures(attempt: Attempt) -> list[Any]:
    """Its failures in the order of its executions."""
    return list(attempt.failures.order_by("number", "id"))


def put(attempt: Attempt, **columns: Any) -> None:
    """Change columns past all guards, as somebody with access to the database could."""
    Attempt._base_manager.using(attempt._state.db).filter(pk=attempt.pk).update(**columns)


def make_due(attempt: Attempt) -> None:
    """Let the time come for which it is scheduled."""
    put(attempt, scheduled_at=DatabaseNow())


def raising(exception: BaseException) -> Callable[..., NoReturn]:
    """An action that raises `exception`."""

    def action(*args: Any, **kwargs: Any) -> NoReturn:
        raise exception

    return action

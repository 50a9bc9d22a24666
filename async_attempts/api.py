"""Enqueue: write attempts in the caller's transaction."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, ParamSpec, cast

from asgiref.sync import sync_to_async
from django.db.models.signals import post_save, pre_save

from .exceptions import InvalidOption
from .models import get_attempt_model
from .models.editing import announce, database_of
from .models.querysets import CODE_ONLY
from .payload import Arguments
from .store import store_for

if TYPE_CHECKING:
    from .models import Attempt

P = ParamSpec("P")

OPTIONS: Final = frozenset(
    "queue priority scheduled_at expires_at max_attempts timeout keep_result idempotence_token "
    "subject metadata database allow_autocommit".split()
)


@dataclass(frozen=True, slots=True)
class Call:
    """A call to be enqueued: a target, its arguments, and options for this one attempt."""

    target: Any
    arguments: Arguments
    options: Mapping[str, Any] = field(default_factory=dict)

    def using(self, **options: Any) -> Call:
        """The same call with these options.

        queue; priority (a number or a name); scheduled_at and expires_at (aware datetimes, or
        timedeltas from the database's now); max_attempts; timeout (seconds); keep_result;
        idempotence_token; subject (a saved model instance); metadata (a dict, stored in clear);
        database (an alias); allow_autocommit. Raises InvalidOption for any other.
        """
        for name in options.keys() - OPTIONS:
            if name in CODE_ONLY:
                raise InvalidOption(f"{name}: belongs on the target's @attemptable, in code.")
            raise InvalidOption(f"{name}: no such option; there are {', '.join(sorted(OPTIONS))}.")
        return replace(self, options={**self.options, **options})

    def enqueue(self) -> Attempt:
        """Write the attempt; see `enqueue`."""
        attempt = self.attempt()
        alias = database_of(attempt)
        announce(pre_save, attempt, alias)
        found = store_for(alias).insert_or_get(attempt)
        if found.created:
            announce(post_save, found, alias, created=True)
        return cast("Attempt", found)

    async def aenqueue(self) -> Attempt:
        """`enqueue`, in the thread of the caller's database connections."""
        return await sync_to_async(self.enqueue, thread_sensitive=True)()

    def attempt(self) -> Attempt:
        """The row that promises this call, not yet written."""
        options = dict(self.options)
        database = options.pop("database", None)
        allow_autocommit = options.pop("allow_autocommit", False)
        attempt = get_attempt_model()(target=self.target, **options)
        attempt.method_args = self.arguments
        attempt.allow_autocommit = allow_autocommit
        attempt._state.db = database
        return cast("Attempt", attempt)


def call(target: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> Call:
    """A call of `target` with these arguments, to be given options or enqueued with others."""
    return Call(target, Arguments(*args, **kwargs))


def enqueue(target: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> Attempt:
    """Write an attempt to call `target` with these arguments, in the caller's transaction.

    It is performed if and only if that transaction commits. With an idempotence token that is
    taken, the row that's there is returned, its `created` False.
    Raises InvalidTarget, InvalidArguments (UnsupportedType), InvalidOption, WrongTransaction;
    nothing is written then and the transaction stays usable.
    """
    return call(target, *args, **kwargs).enqueue()


async def aenqueue(target: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> Attempt:
    """`enqueue` for async code; as always with async, no transaction is open there."""
    return await call(target, *args, **kwargs).aenqueue()


def schedule(
    when: datetime | timedelta, target: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs
) -> Attempt:
    """`enqueue`, to be performed at an aware datetime, or a timedelta from the database's now."""
    return call(target, *args, **kwargs).using(scheduled_at=when).enqueue()


def enqueue_many(calls: Iterable[Call]) -> list[Attempt]:
    """Write all of `calls` or none, in a few statements; returns their rows in the same order."""
    by_database: defaultdict[str, list[tuple[int, Attempt]]] = defaultdict(list)
    for place, one in enumerate(calls):
        if not isinstance(one, Call):
            raise InvalidOption(
                f"calls[{place}]: {type(one).__name__}; wrap each in call(function, …)."
            )
        attempt = one.attempt()
        by_database[database_of(attempt)].append((place, attempt))
    written: dict[int, Any] = {}
    for alias, placed in by_database.items():
        found = store_for(alias).insert_or_get_many([attempt for _, attempt in placed])
        written.update(zip((place for place, _ in placed), found, strict=True))
    return [written[place] for place in sorted(written)]

"""Enqueue: write attempts in the caller's transaction."""

from __future__ import annotations

import sys
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, Literal, ParamSpec, TypeAlias, cast, overload

from asgiref.sync import sync_to_async
from django.db.models.signals import post_save, pre_save

from .batches import in_batches
from .exceptions import InvalidOption
from .flow import Flow, as_flow, group
from .ids import uuid7, uuid7s
from .models import get_attempt_model
from .models.database import database_of
from .models.editing import announce
from .models.promise import Promised, Promises, kind_of
from .models.querysets import CODE_ONLY
from .payload import Arguments, Handed
from .plaintext import hides_arguments
from .store import store_for
from .targets.pacing import OPTIONS as PACING

if TYPE_CHECKING:
    from .models import Attempt

P = ParamSpec("P")
Part: TypeAlias = "tuple[list[Attempt], Promises | None]"

CALLS_AT_A_TIME: Final = 500

OPTIONS: Final = frozenset(
    "queue priority scheduled_at expires_at max_attempts timeout keep_result idempotence_token "
    "depends_on subject metadata database allow_autocommit debounce throttle max_wait adaptive "
    "key limit_key concurrency".split()
)


@dataclass(frozen=True, slots=True)
class Call:
    """A call to be enqueued: a target, its arguments, and options for this one attempt.

    `is_open`: made by `call()`, and nothing became of it yet. One that is dropped then warns, as a
    coroutine does that was never awaited.
    """

    target: Any
    arguments: Arguments
    options: Mapping[str, Any] = field(default_factory=dict)
    is_open: bool = field(default=False, repr=False, compare=False)

    def __del__(self) -> None:
        if self.is_open and not sys.is_finalizing():
            name = getattr(self.target, "__qualname__", self.target)
            warnings.warn(
                f"call({name}, …) was never enqueued: add .enqueue(), or hand it to "
                "enqueue_many() or a flow that is enqueued.",
                RuntimeWarning,
                stacklevel=2,
                source=self,
            )

    def use(self) -> Call:
        """Note that something became of it: a row, another call, or an error."""
        object.__setattr__(self, "is_open", False)
        return self

    def using(self, **options: Any) -> Call:
        """The same call with these options.

        queue; priority (a number or a name); scheduled_at and expires_at (aware datetimes, or
        timedeltas from the database's now); max_attempts; timeout (seconds); keep_result;
        idempotence_token; depends_on (attempts or their ids, which have to succeed first, or pairs
        of one and "success", "failure" or "any"); subject (a saved model instance); metadata (a
        dict, stored in clear); database (an alias); allow_autocommit; debounce and throttle
        (seconds or a timedelta, False turns the target's own off), with key (text, a whole number
        or a UUID), and max_wait and adaptive for debounce: see `async_attempts.targets.Pacing`;
        limit_key (text, a whole number or a UUID, False turns the target's own off) of which at
        most concurrency attempts, 1 by default, run at once.
        Raises InvalidOption for any other.
        """
        was_open = self.is_open
        self.use()
        for name in options.keys() - OPTIONS:
            if name in CODE_ONLY:
                raise InvalidOption(f"{name}: belongs on the target's @attemptable, in code.")
            raise InvalidOption(f"{name}: no such option; there are {', '.join(sorted(OPTIONS))}.")
        return replace(self, options={**self.options, **options}, is_open=was_open)

    @hides_arguments
    def then(self, target: Any, /, *args: Any, **kwargs: Any) -> Flow:
        """When this has succeeded, call `target` with its result; see `Flow.then`."""
        return as_flow(self).then(target, *args, **kwargs)

    @hides_arguments
    def catch(self, target: Any, /, *args: Any, **kwargs: Any) -> Flow:
        """When this has failed or expired, call `target` with its `Ending`; see `Flow.catch`."""
        return as_flow(self).catch(target, *args, **kwargs)

    @hides_arguments
    def finally_(self, target: Any, /, *args: Any, **kwargs: Any) -> Flow:
        """When this has ended, however it did, call `target`; see `Flow.finally_`."""
        return as_flow(self).finally_(target, *args, **kwargs)

    def handed(self, handed: Handed | None) -> Call:
        """The same call, with what it is handed when it is performed before its own arguments."""
        if handed is None:
            return self
        self.use()
        before = Arguments(handed, *self.arguments.args, **self.arguments.kwargs)
        return replace(self, arguments=before)

    def enqueue(self) -> Attempt:
        """Write the attempt; see `enqueue`."""
        return _enqueued(self.attempt())

    async def aenqueue(self) -> Attempt:
        """`enqueue`, in the thread of the caller's database connections."""
        attempt = self.attempt()
        attempt.loads_defaults = True
        return await sync_to_async(_enqueued, thread_sensitive=True)(attempt)

    def attempt(self) -> Attempt:
        """The row that promises this call, not yet written."""
        self.use()
        if not self.options:
            return _new(self.target, self.arguments)
        options = dict(self.options)
        database = options.pop("database", None)
        allow_autocommit = options.pop("allow_autocommit", False)
        pacing: dict[str, Any] = {n: options.pop(n) for n in PACING if n in options}
        attempt = _new(self.target, self.arguments, **options)
        if pacing:
            attempt.pacing = pacing
        attempt.allow_autocommit = allow_autocommit
        attempt._state.db = database
        return attempt


def _new(target: Any, arguments: Arguments, **columns: Any) -> Attempt:
    attempt = get_attempt_model()(target=target, **columns)
    attempt._plain = arguments
    return cast("Attempt", attempt)


def _enqueued(attempt: Attempt, promised: Promised | None = None) -> Attempt:
    alias = database_of(attempt)
    announce(pre_save, attempt, alias)
    found = store_for(alias).insert_or_get(attempt, promised)
    if found.created:
        announce(post_save, found, alias, created=True)
    return cast("Attempt", found)


def call(target: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> Call:
    """A call of `target` with these arguments, to be given options or enqueued with others."""
    return Call(target, Arguments(*args, **kwargs), is_open=True)


@hides_arguments
def parallel(*calls: Any) -> Flow:
    """Calls, functions or flows that are performed side by side; to be followed, or enqueued.

    Of a flow in it, the last result counts. Raises InvalidOption for anything else.
    """
    return group(calls)


def enqueue(target: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> Attempt:
    """Write an attempt to call `target` with these arguments, in the caller's transaction.

    It is performed if and only if that transaction commits. With an idempotence token that is
    taken, the row that's there is returned, its `created` False.
    Raises InvalidTarget, InvalidArguments (UnsupportedType), InvalidOption, WrongTransaction;
    nothing is written then and the transaction stays usable.
    """
    arguments = Arguments(*args, **kwargs)
    del args, kwargs  # An error report would show them.
    kind = kind_of(get_attempt_model(), target)
    if kind is None or pre_save.receivers:
        return _enqueued(_new(target, arguments))
    promised = Promised(kind.plaintext(arguments), {}, kind)
    row = kind.row(uuid7(), arguments)
    return _enqueued(row, promised)


async def aenqueue(target: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> Attempt:
    """`enqueue` for async code; as always with async, no transaction is open there."""
    made = call(target, *args, **kwargs)
    del args, kwargs
    return await made.aenqueue()


def schedule(
    when: datetime | timedelta, target: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs
) -> Attempt:
    """`enqueue`, to be performed at an aware datetime, or a timedelta from the database's now."""
    made = call(target, *args, **kwargs)
    del args, kwargs
    return made.using(scheduled_at=when).enqueue()


@overload
def enqueue_many(calls: Iterable[Call], *, returning: Literal[True] = True) -> list[Attempt]: ...
@overload
def enqueue_many(calls: Iterable[Call], *, returning: Literal[False]) -> int: ...
@hides_arguments
def enqueue_many(calls: Iterable[Call], *, returning: bool = True) -> list[Attempt] | int:
    """Write all of `calls` or none, in a few statements; returns their rows in the same order.

    Of debounced or throttled calls of one key the last one counts; all get its row.
    `returning=False`: for any number of calls, such as a generator's, all for one database. They
    are written as they come, in one transaction, and no rows are held; returns how many are new.
    """
    all_taken = map(taken, calls)
    if returning:
        return write(*_many(list(all_taken)))
    parts = _parts(all_taken)
    if (first := next(parts, None)) is None:
        return 0
    alias = database_of(first[0][0])
    return store_for(alias).insert_parts(_of_one_database(alias, chain([first], parts)))


def taken(one: Any) -> Any:
    """It is used, also if another one is refused."""
    return one.use() if isinstance(one, Call) else one


def _parts(calls: Iterable[Call]) -> Iterator[Part]:
    """The rows of so many calls at a time."""
    place = 0
    for some in in_batches(calls, CALLS_AT_A_TIME):
        yield _many(some, place)
        place += len(some)


def _of_one_database(alias: str, parts: Iterable[Part]) -> Iterator[Part]:
    """`parts`, as long as all go there. Raises InvalidOption for one that doesn't."""
    for attempts, promises in parts:
        for attempt in attempts:
            if (other := database_of(attempt)) != alias:
                raise InvalidOption(
                    f"database: {attempt} goes to {other!r}, and the first call to {alias!r}; with "
                    "returning=False enqueue the calls of each database by themselves."
                )
        yield attempts, promises


def write(attempts: list[Attempt], promises: Promises | None = None) -> list[Attempt]:
    """Write all of these new rows or none; returns them, or those that have their tokens.

    `promises`: what is known of them, if they are promised.
    """
    by_database: defaultdict[str, list[int]] = defaultdict(list)
    for place, attempt in enumerate(attempts):
        by_database[database_of(attempt)].append(place)
    for alias, places in by_database.items():
        some = [attempts[place] for place in places]
        known = promises and promises._replace(
            plaintexts=[promises.plaintexts[place] for place in places]
        )
        found = store_for(alias).insert_or_get_many(some, known)
        for place, row in zip(places, found, strict=True):
            attempts[place] = cast("Attempt", row)
    return attempts


def _many(calls: Sequence[Call], first: int = 0) -> Part:
    """Their rows, and what is known of them if all are of one kind; `first`: the place of one."""
    for place, one in enumerate(calls, first):
        if not isinstance(one, Call):
            raise InvalidOption(
                f"calls[{place}]: {type(one).__name__}; wrap each in call(function, …)."
            )
    target = calls[0].target if calls else None
    if any(one.target is not target or one.options for one in calls):
        return [one.attempt() for one in calls], None
    kind = kind_of(get_attempt_model(), target) if calls else None
    if kind is None:
        return [one.attempt() for one in calls], None
    plaintexts = [kind.plaintext(one.arguments) for one in calls]
    rows = [
        kind.row(key, one.arguments) for key, one in zip(uuid7s(len(calls)), calls, strict=True)
    ]
    return rows, Promises(plaintexts, kind)

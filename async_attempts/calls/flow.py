"""Single calls, and flows: graphs of calls that follow one another.

A call is a flow of one step. A flow is written at once; nothing of it is kept but the edges between
its attempts.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, ParamSpec

from asgiref.sync import sync_to_async

from ..exceptions import InvalidOption
from ..models import AbstractAttempt, Condition, Edge
from ..models.fields import Mark, marked
from ..models.querysets import CODE_ONLY
from ..payload import Arguments, Handed
from ..plaintext import hides_arguments
from ..targets import KEY_OPTIONS, attemptable
from ..values import flag
from .rows import new_row, put_on_one_database, write, write_one, write_plain

if TYPE_CHECKING:
    from ..models import Attempt

P = ParamSpec("P")

OPTIONS: Final = frozenset("depends_on subject database allow_autocommit".split()).union(
    marked(AbstractAttempt, Mark.CHOSEN), KEY_OPTIONS
)


@dataclass(frozen=True, slots=True)
class Call:
    """A call to be enqueued: a target, its arguments, and options for this one attempt.

    `is_open`: made by `call()`, and not used yet. An open call that is dropped warns, as a
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
        """Return the same call, which no longer warns when it is dropped."""
        object.__setattr__(self, "is_open", False)
        return self

    def using(self, **options: Any) -> Call:
        """Return the same call with these options.

        queue; priority (a number or a name); scheduled_at and expires_at (aware datetimes, or
        timedeltas from the database's now); max_attempts; timeout (seconds); keep_result;
        idempotence_token; depends_on (attempts or their ids, which have to succeed first, or pairs
        of one and "success", "failure" or "any"); subject (a saved model instance); metadata (a
        dict, stored in clear); database (an alias); allow_autocommit; debounce and throttle
        (seconds or a timedelta, False turns the target's own off), with key (text, a whole number
        or a UUID), and max_wait and adaptive for debounce: see `targets.DebounceOptions`; one_of
        (True, or such a key, False turns the target's own off) of which one attempt is live, with
        when_taken ("keep", "skip", "replace" or "again"): see `targets.OneOf`;
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
        """Call `target` with the result when this has succeeded; see `Flow.then`."""
        return self.flow().then(target, *args, **kwargs)

    @hides_arguments
    def catch(self, target: Any, /, *args: Any, **kwargs: Any) -> Flow:
        """Call `target` with the `Ending` when this has failed or expired; see `Flow.catch`."""
        return self.flow().catch(target, *args, **kwargs)

    @hides_arguments
    def finally_(self, target: Any, /, *args: Any, **kwargs: Any) -> Flow:
        """Call `target` when this has ended in any way; see `Flow.finally_`."""
        return self.flow().finally_(target, *args, **kwargs)

    def flow(self) -> Flow:
        """Return a flow of this single step."""
        step = Step(self)
        return Flow((step,), last=step)

    def handed(self, handed: Handed | None) -> Call:
        """Return the same call; its first argument is handed to it when it is performed."""
        if handed is None:
            return self
        self.use()
        before = Arguments(handed, *self.arguments.args, **self.arguments.kwargs)
        return replace(self, arguments=before)

    def enqueue(self) -> Attempt:
        """Write the attempt; see `enqueue`."""
        self.use()
        if self.has_no_options:
            return write_plain(self.target, self.arguments, self.options.get("database"))
        return write_one(self.attempt())

    async def aenqueue(self) -> Attempt:
        """Enqueue in the thread of the caller's database connections."""
        attempt = self.attempt()
        attempt.loads_defaults = True
        return await sync_to_async(write_one, thread_sensitive=True)(attempt)

    @property
    def has_no_options(self) -> bool:
        """True if it was given none, but perhaps a database."""
        return self.options.keys() <= {"database"}

    def attempt(self) -> Attempt:
        """Return the row of this call, not yet written."""
        self.use()
        if not self.options:
            return new_row(self.target, self.arguments)
        options = dict(self.options)
        database = options.pop("database", None)
        allow_autocommit = options.pop("allow_autocommit", False)
        key_options: dict[str, Any] = {n: options.pop(n) for n in KEY_OPTIONS if n in options}
        attempt = new_row(self.target, self.arguments, **options)
        if key_options:
            attempt.key_options = key_options
        attempt.allow_autocommit = allow_autocommit
        attempt._state.db = database
        return attempt


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One call of a flow, the steps that it waits for, and what it is handed of them."""

    call: Call
    after: tuple[tuple[Step, Condition], ...] = ()
    handed: Handed | None = None


@dataclass(frozen=True, slots=True)
class Flow:
    """A graph of calls, to be followed by more. Its methods return another flow, and write nothing.

    `ends`: the steps whose results the next one gets; several for a group. `beside`: side branches.
    `handlers`: the side branches that `finally_` waits for. `last`: the step that was added last;
    None for a group.
    """

    ends: tuple[Step, ...]
    is_group: bool = False
    beside: tuple[Step, ...] = ()
    handlers: tuple[Step, ...] = field(default=())
    last: Step | None = None

    @hides_arguments
    def then(self, target: Any, /, *args: Any, **kwargs: Any) -> Flow:
        """Add a call that gets the result, or a group's list of them, once all before succeeded.

        `target`: a function, whose further arguments follow here, and its options by `using`; or a
        `call()`, which with `hand=False` waits for what is before and isn't handed the result; so
        do `settled` and `catch`.
        """
        handed = Handed.RESULTS if self.is_group else Handed.RESULT
        return self._followed(target, args, kwargs, Condition.SUCCESS, handed)

    @hides_arguments
    def settled(self, target: Any, /, *args: Any, **kwargs: Any) -> Flow:
        """Add a call that gets a list of `Ending` when all of the group has ended in any way."""
        if not self.is_group:
            raise InvalidOption("settled: is for a parallel() group; use then, catch or finally_.")
        return self._followed(target, args, kwargs, Condition.ANY, Handed.ENDINGS)

    @hides_arguments
    def catch(self, target: Any, /, *args: Any, **kwargs: Any) -> Flow:
        """Add a side branch that gets the first `Ending` when a step before failed or expired.

        A later `then` continues the main chain.
        """
        flow = self._joined()
        step = _step(target, args, kwargs, _each(flow.ends, Condition.FAILURE), Handed.ERROR)
        return Flow(flow.ends, False, (*flow.beside, step), (*flow.handlers, step), step)

    @hides_arguments
    def finally_(self, target: Any, /, *args: Any, **kwargs: Any) -> Flow:
        """Add a call that is handed nothing; it waits until all before has ended, handlers too."""
        last = dict.fromkeys((*self.ends, *self.handlers, *self._outliving()))
        step = _step(target, args, kwargs, _each(tuple(last), Condition.ANY), None)
        return Flow(self.ends, self.is_group, (*self.beside, step), self.handlers, step)

    def using(self, **options: Any) -> Flow:
        """Return the same flow with options for the call that was added last; see `Call.using`.

        Raises InvalidOption for a group, whose calls have options of their own.
        """
        if (last := self.last) is None:
            raise InvalidOption("using: give a group's options to its calls: call(f).using(…).")
        chosen = replace(last, call=last.call.using(**options))

        def replaced(steps: tuple[Step, ...]) -> tuple[Step, ...]:
            return tuple(chosen if step is last else step for step in steps)

        return Flow(
            replaced(self.ends),
            self.is_group,
            replaced(self.beside),
            replaced(self.handlers),
            chosen,
        )

    def _outliving(self) -> Iterator[Step]:
        """Yield the steps that may still run when another step's failure has expired their next."""
        for step in self.steps():
            if len(step.after) > 1:
                yield from (before for before, needed in step.after if needed != Condition.ANY)

    def steps(self) -> Iterator[Step]:
        """Yield all steps, each after the steps that it waits for."""
        seen: set[Step] = set()
        waiting = [*reversed((*self.ends, *self.beside))]
        while waiting:
            step = waiting[-1]
            first = [before for before, _ in step.after if before not in seen]
            if step in seen or not first:
                waiting.pop()
                if step not in seen:
                    seen.add(step)
                    yield step
            else:
                waiting += reversed(first)

    def enqueue(self) -> Any:
        """Write all attempts of the flow in the caller's transaction, or none.

        Returns the last attempt of the main chain; of a group, a list of attempts.
        Raises what `enqueue` raises, and InvalidOption for calls on several databases or results
        that are handed on and not to be kept.
        """
        return self._of_ends(self.enqueue_all())

    def enqueue_all(self) -> dict[Step, Attempt]:
        """Enqueue; return all attempts by step, each after the steps that it waits for."""
        return self._written(loads_defaults=False)

    async def aenqueue(self) -> Any:
        """Enqueue in the thread of the caller's database connections."""
        written = sync_to_async(self._written, thread_sensitive=True)
        return self._of_ends(await written(loads_defaults=True))

    def _of_ends(self, attempts: Mapping[Step, Attempt]) -> Any:
        if self.is_group:
            return [attempts[end] for end in self.ends]
        return attempts[self.ends[0]]

    def _written(self, *, loads_defaults: bool) -> dict[Step, Attempt]:
        rows: dict[Step, Attempt] = {}
        for step in self.steps():
            keeps = step.handed not in (None, Handed.ERROR)
            row = rows[step] = step.call.handed(step.handed).attempt()
            row.edges += tuple(
                Edge(rows[before], condition, index if step.handed else None, keeps)
                for index, (before, condition) in enumerate(step.after)
            )
            row.loads_defaults = loads_defaults
        if not rows:
            return {}
        put_on_one_database(list(rows.values()))
        return dict(zip(rows, write(list(rows.values())), strict=True))

    def _followed(
        self, target: Any, args: Any, kwargs: Any, condition: Condition, handed: Handed
    ) -> Flow:
        step = _step(target, args, kwargs, _each(self.ends, condition), handed)
        return Flow((step,), False, self.beside, self.handlers, step)

    def _joined(self) -> Flow:
        """Return a flow with one end: of a group, a call that returns the list of its results."""
        return self.then(gathered) if self.is_group else self


@attemptable
def gathered(results: list[Any]) -> list[Any]:
    """Return the results of a group that is a member of another group, or precedes a `catch`."""
    return results


def call(target: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> Call:
    """Return a call of `target`, to be given options, followed, or enqueued with others."""
    return Call(target, Arguments(*args, **kwargs), is_open=True)


@hides_arguments
def parallel(*calls: Any) -> Flow:
    """Return a group of calls, functions or flows, which run side by side.

    The result of a flow in it is that of its last call. Raises InvalidOption for anything else.
    """
    flows = [_flow_of(member)._joined() for member in calls]
    return Flow(
        tuple(end for flow in flows for end in flow.ends),
        True,
        tuple(step for flow in flows for step in flow.beside),
        tuple(step for flow in flows for step in flow.handlers),
    )


def _flow_of(given: Any) -> Flow:
    return given if isinstance(given, Flow) else _call_of(given).flow()


def _step(
    target: Any,
    args: Any,
    kwargs: Any,
    after: tuple[tuple[Step, Condition], ...],
    handed: Handed | None,
) -> Step:
    """Return the step that calls `target`, as `Flow.then` and its siblings are given it.

    `hand` goes with a call alone: a function's keyword arguments are the function's own.
    """
    if isinstance(target, Call) and "hand" in kwargs:
        kwargs = {**kwargs}
        if not flag("hand:", kwargs.pop("hand"), InvalidOption):
            handed = None
        elif handed is None:
            raise InvalidOption("hand: finally_ hands nothing on; use settled, or leave hand out.")
    return Step(_call_of(target, *args, **kwargs), after, handed)


def _call_of(given: Any, /, *args: Any, **kwargs: Any) -> Call:
    """Return a call, or that of a function with these arguments. Raises InvalidOption."""
    if isinstance(given, Flow):
        raise InvalidOption(
            "A flow can't follow another one; chain its calls one by one, or put it in parallel()."
        )
    if isinstance(given, Call):
        if args or kwargs:
            raise InvalidOption("Give a call() its arguments itself: call(function, …).")
        return given
    if callable(given):
        return call(given, *args, **kwargs)
    raise InvalidOption(f"A {type(given).__name__} is no call; give a function or call(function).")


def _each(steps: tuple[Step, ...], condition: Condition) -> tuple[tuple[Step, Condition], ...]:
    return tuple((step, condition) for step in steps)

"""Chains and groups: which call follows which, and what it is handed.

A flow is a graph of steps that is written at once; nothing of it is kept but the edges.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from asgiref.sync import sync_to_async

from .exceptions import InvalidOption
from .models import Condition, Edge
from .models.database import database_of
from .payload import Handed
from .plaintext import hides_arguments
from .targets import attemptable

if TYPE_CHECKING:
    from .models import Attempt


class Promising(Protocol):
    """A call, as far as a flow has to do with it."""

    def attempt(self) -> Attempt:
        """The row that promises the call, not yet written."""

    def handed(self, handed: Handed | None) -> Any:
        """The same call, with what it is handed before its own arguments."""

    def using(self, **options: Any) -> Any:
        """The same call with these options."""


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One call of a flow: what it waits for, in which condition, and whether that is handed on."""

    call: Promising
    after: tuple[tuple[Step, Condition], ...] = ()
    handed: Handed | None = None


@dataclass(frozen=True, slots=True)
class Flow:
    """What may be followed by more calls. Each method returns another flow, and writes nothing.

    `ends`: the steps whose results the next one gets; several for a group. `beside`: those that
    nothing follows. `handlers`: those of them that `finally_` waits for. `last`: what was added
    last, but for a group.
    """

    ends: tuple[Step, ...]
    is_group: bool = False
    beside: tuple[Step, ...] = ()
    handlers: tuple[Step, ...] = field(default=())
    last: Step | None = None

    @hides_arguments
    def then(self, target: Any, /, *args: Any, **kwargs: Any) -> Flow:
        """Next, when all before it has succeeded: it gets the result, of a group the list of them.

        `target`: a function, whose further arguments follow here, and its options by `using`; or a
        `call()`.
        """
        handed = Handed.RESULTS if self.is_group else Handed.RESULT
        return self._followed(as_call(target, *args, **kwargs), Condition.SUCCESS, handed)

    @hides_arguments
    def settled(self, target: Any, /, *args: Any, **kwargs: Any) -> Flow:
        """Next, when all of the group has ended, however it did: it gets a list of `Ending`."""
        if not self.is_group:
            raise InvalidOption("settled: is for a parallel() group; use then, catch or finally_.")
        return self._followed(as_call(target, *args, **kwargs), Condition.ANY, Handed.ENDINGS)

    @hides_arguments
    def catch(self, target: Any, /, *args: Any, **kwargs: Any) -> Flow:
        """When what is before it has failed or expired: it gets the `Ending` of the first that did.

        What follows by `then` doesn't wait for it.
        """
        flow = self._joined()
        handler = as_call(target, *args, **kwargs)
        step = Step(handler, _each(flow.ends, Condition.FAILURE), Handed.ERROR)
        return Flow(flow.ends, False, (*flow.beside, step), (*flow.handlers, step), step)

    @hides_arguments
    def finally_(self, target: Any, /, *args: Any, **kwargs: Any) -> Flow:
        """When all before it has ended, however it did, and what catches has, too; gets nothing."""
        last = dict.fromkeys((*self.ends, *self.handlers, *self._outliving()))
        step = Step(as_call(target, *args, **kwargs), _each(tuple(last), Condition.ANY))
        return Flow(self.ends, self.is_group, (*self.beside, step), self.handlers, step)

    def using(self, **options: Any) -> Flow:
        """The same, with these options for the call that was added last; see `Call.using`.

        Raises InvalidOption for a group, whose calls have options of their own.
        """
        if (last := self.last) is None:
            raise InvalidOption("using: give a group's options to its calls: call(f).using(…).")
        chosen = replace(last, call=last.call.using(**options))

        def now(steps: tuple[Step, ...]) -> tuple[Step, ...]:
            return tuple(chosen if step is last else step for step in steps)

        return Flow(now(self.ends), self.is_group, now(self.beside), now(self.handlers), chosen)

    def _outliving(self) -> Iterator[Step]:
        """What may go on when its next step has ended: that one expires at the first failure."""
        for step in self.steps():
            if len(step.after) > 1:
                yield from (before for before, needed in step.after if needed != Condition.ANY)

    def steps(self) -> Iterator[Step]:
        """All steps, each after those that it waits for."""
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
        """Write all its attempts in the caller's transaction, or none.

        Returns the attempt of the last call that others would follow; of a group, a list of its.
        Raises what `enqueue` raises, and InvalidOption for calls on several databases or results
        that are handed on and not to be kept.
        """
        return self._of_ends(self.enqueue_all())

    def enqueue_all(self) -> dict[Step, Attempt]:
        """`enqueue`, returning all its attempts by step, each after those that it waits for."""
        return self._written(loads_defaults=False)

    async def aenqueue(self) -> Any:
        """`enqueue`, in the thread of the caller's database connections."""
        written = sync_to_async(self._written, thread_sensitive=True)
        return self._of_ends(await written(loads_defaults=True))

    def _of_ends(self, attempts: Mapping[Step, Attempt]) -> Any:
        if self.is_group:
            return [attempts[end] for end in self.ends]
        return attempts[self.ends[0]]

    def _written(self, *, loads_defaults: bool) -> dict[Step, Attempt]:
        from .api import write

        rows: dict[Step, Attempt] = {}
        for step in self.steps():
            keeps = step.handed not in (None, Handed.ERROR)
            row = rows[step] = step.call.handed(step.handed).attempt()
            row.edges += tuple(
                Edge(rows[before], condition, place if step.handed else None, keeps)
                for place, (before, condition) in enumerate(step.after)
            )
            row.loads_defaults = loads_defaults
        if not rows:
            return {}
        _put_on_one_database(list(rows.values()))
        return dict(zip(rows, write(list(rows.values())), strict=True))

    def _followed(self, next_call: Promising, condition: Condition, handed: Handed) -> Flow:
        step = Step(next_call, _each(self.ends, condition), handed)
        return Flow((step,), False, self.beside, self.handlers, step)

    def _joined(self) -> Flow:
        """The same with one end: a group's is an attempt that returns the list of its results."""
        return self.then(gathered) if self.is_group else self


@attemptable
def gathered(results: list[Any]) -> list[Any]:
    """Stands for a group that has to be one: in another group, or before a `catch`."""
    return results


def group(members: tuple[Any, ...]) -> Flow:
    """Flows, calls or functions that are performed side by side."""
    flows = [as_flow(member)._joined() for member in members]
    return Flow(
        tuple(end for flow in flows for end in flow.ends),
        True,
        tuple(step for flow in flows for step in flow.beside),
        tuple(step for flow in flows for step in flow.handlers),
    )


def as_flow(given: Any) -> Flow:
    """A flow, or one of a single call."""
    if isinstance(given, Flow):
        return given
    step = Step(as_call(given))
    return Flow((step,), last=step)


def as_call(given: Any, /, *args: Any, **kwargs: Any) -> Promising:
    """A call, or one of a function with these arguments. Raises InvalidOption."""
    from .api import Call, call

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


def _put_on_one_database(rows: Sequence[Attempt]) -> None:
    """On the one that any of the calls names, else where the router puts attempts."""
    given = {row._state.db for row in rows if row._state.db is not None}
    if len(given) > 1:
        raise InvalidOption(
            f"database: the calls of a flow must be on one, not on {', '.join(sorted(given))}."
        )
    alias = given.pop() if given else database_of(rows[0])
    for row in rows:
        row._state.db = alias


def _each(steps: tuple[Step, ...], condition: Condition) -> tuple[tuple[Step, Condition], ...]:
    return tuple((step, condition) for step in steps)

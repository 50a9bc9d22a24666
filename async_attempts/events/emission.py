"""`emit`: one attempt for each listener, in the caller's transaction, in one INSERT."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from asgiref.sync import sync_to_async

from ..conf import settings
from ..exceptions import ConditionFailed, InvalidArguments, InvalidOption
from ..payload import Arguments
from ..plaintext import hides_arguments
from ..targets import policy_of, target_of
from .listeners import Listener, Subscription, registry

if TYPE_CHECKING:
    from ..calls import Call
    from ..models import Attempt

OPTIONS: Final = frozenset(
    {"idempotence_token", "subject", "metadata", "database", "allow_autocommit"}
)
NAME: Final = "event"
"""The parameter, and the key in the metadata, that gets the event's name."""

GLOB: Final = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True)
class Event:
    """An event to be emitted: a name, a payload, and options for all its attempts."""

    name: str
    payload: Mapping[str, Any] = field(repr=False)
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        name: Any = self.name
        if not isinstance(name, str) or not name or GLOB.search(name):
            raise InvalidOption(
                f"emit: the name of an event is a string without any of *, ? and [, which are for "
                f"@on, not {name!r}."
            )
        if NAME in self.payload:
            raise InvalidArguments(
                f"emit({self.name!r}): {NAME!r} is what listeners get the event's name by; give "
                f"the argument another name."
            )

    def using(self, **options: Any) -> Event:
        """Return the same event with these options, which go to each of its attempts.

        idempotence_token (at most one attempt for each listener); subject; metadata; database;
        allow_autocommit: as for `call(…).using`. Raises InvalidOption for any other.
        """
        for name in options.keys() - OPTIONS:
            raise InvalidOption(
                f"{name}: is for the listener to say, in its @on; an event has "
                f"{', '.join(sorted(OPTIONS))}."
            )
        return replace(self, options={**self.options, **options})

    @hides_arguments
    def emit(self) -> list[Attempt]:
        """Write the attempts; see `emit`."""
        return self._write(loads_defaults=False) if registry.of(self.name) else []

    @hides_arguments
    async def aemit(self) -> list[Attempt]:
        """Emit in the thread of the caller's database connections; conditions run there, too."""
        if not registry.of(self.name):
            return []
        write = sync_to_async(self._write, thread_sensitive=True)
        return await write(loads_defaults=True)

    def _write(self, *, loads_defaults: bool) -> list[Attempt]:
        from ..calls import write

        attempts = [call.attempt() for call in self._calls()]
        for attempt in attempts:
            attempt.loads_defaults = loads_defaults
        return write(attempts)

    def _calls(self) -> Iterator[Call]:
        from ..calls import Call

        payload = MappingProxyType(dict(self.payload))
        for listener in registry.of(self.name):
            if (chosen := self._chosen(listener, payload)) is not None:
                arguments = Arguments(**self._keywords(listener, payload))
                yield Call(listener.name, arguments).using(**self._options(listener, chosen))

    def _chosen(self, listener: Listener, payload: Mapping[str, Any]) -> Subscription | None:
        """Return the first subscription whose condition holds; None if none does."""
        for one in listener.subscriptions:
            try:
                if one.when is None or one.when(payload):
                    return one
            except Exception as error:
                raise ConditionFailed(
                    f"emit({self.name!r}): the condition of {listener.named(one)} raised "
                    f"{type(error).__name__}."
                ) from error
        return None

    def _keywords(self, listener: Listener, payload: Mapping[str, Any]) -> dict[str, Any]:
        """Return the listener's keyword arguments. Raises InvalidTarget, InvalidArguments."""
        signature = target_of(listener.name).signature
        keywords = dict(payload)
        if signature.has_keyword(NAME):
            keywords[NAME] = self.name
        try:
            signature.check((), keywords)
        except InvalidArguments as error:
            raise InvalidArguments(
                f"emit({self.name!r}): {error} A listener has a parameter for each argument of "
                f"its event, or takes those that it doesn't need by **rest."
            ) from None
        return keywords

    def _options(self, listener: Listener, chosen: Subscription) -> dict[str, Any]:
        said = chosen.options
        try:
            if said.queue is not None:
                settings().queue(said.queue)
            if said.priority is not None:
                settings().priority(said.priority)
        except InvalidOption as error:
            raise InvalidOption(f"{listener.named(chosen)}: {error}") from None
        self._refuse_beside_debounce(listener, chosen)
        columns = {
            "queue": said.queue,
            "priority": said.priority,
            "scheduled_at": said.delay,
            "expires_at": said.expires_after,
            "max_attempts": said.max_attempts,
            "timeout": said.timeout,
            "keep_result": said.keep_result,
        }
        given = {name: value for name, value in columns.items() if value is not None}
        return {**given, **self.options, "metadata": self._metadata()}

    def _refuse_beside_debounce(self, listener: Listener, chosen: Subscription) -> None:
        """Raise InvalidOption for options that exclude debounce and throttle."""
        has_token = self.options.get("idempotence_token") is not None
        if chosen.options.delay is None and not has_token:
            return
        policy = policy_of(listener.function) or chosen.options
        if has_token and policy.one_of is not None:
            raise InvalidOption(
                f"idempotence_token, one_of: {listener.named(chosen)} has one live attempt of a "
                "key, and a token keeps the first one; emit without a token."
            )
        option = "debounce" if policy.debounce is not None else "throttle"
        if policy.debounce is None and policy.throttle is None:
            return
        if has_token:
            raise InvalidOption(
                f"idempotence_token, {option}: {listener.named(chosen)} keeps the last one of "
                f"several calls, a token the first; emit without a token."
            )
        raise InvalidOption(
            f"{listener.named(chosen)}: delay, {option}: both say when it is due; leave delay out, "
            f"or {option}."
        )

    def _metadata(self) -> Any:
        given = self.options.get("metadata", {})
        # The check of metadata refuses a value that is no mapping.
        return {**given, NAME: self.name} if isinstance(given, Mapping) else given


@hides_arguments
def event(name: str, /, **payload: Any) -> Event:
    """Return an event, to be given options and emitted."""
    return Event(name, payload)


@hides_arguments
def emit(name: str, /, **payload: Any) -> list[Attempt]:
    """Write an attempt for each listener of the event `name`, in the caller's transaction.

    Each is to be called with `payload` as keyword arguments. All are written in one INSERT, or
    none; without a listener no statement is sent. Returns the attempts, in the order in which
    their listeners were imported.

    Raises ConditionFailed for a listener's `when` that raised, InvalidArguments for what a
    listener doesn't take, and what `enqueue` raises; nothing is written then and the transaction
    stays usable, but for a condition whose own query failed on PostgreSQL.
    """
    return Event(name, payload).emit()


@hides_arguments
async def aemit(name: str, /, **payload: Any) -> list[Attempt]:
    """Emit in async code, where Django opens no transaction."""
    return await Event(name, payload).aemit()

"""The exceptions of the package.

Those that a target itself raises (`Snooze`, `Retry`, `Fail`, `Refused`, `Expire`) are at the end.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db import IntegrityError

from .printable import printable
from .values import FINITE, seconds, whole


class AttemptsError(Exception):
    """The base of every error of this package."""

    @property
    def in_clear(self) -> str:
        """The text for logs and reasons: it quotes nothing that arguments or results hold."""
        return str(self)


class InvalidSetting(AttemptsError, ValueError):
    """A key or a value in the setting `ASYNC_ATTEMPTS` is wrong; names the key and the remedy."""


class InvalidOption(AttemptsError, ValueError):
    """An option of an attempt (queue, priority, time, ...) is wrong; names it and the remedy."""


class InvalidTarget(AttemptsError, ValueError):
    """The target may not be called: unregistered, private, not callable, not importable."""


class UnknownTarget(InvalidTarget):
    """This code does not have the target: a wrong name, or a worker amid a rolling deploy."""


class UnknownType(UnknownTarget):
    """This code can't read a stored value of a project's type: it lacks the type or its version."""


class InvalidArguments(AttemptsError, ValueError):
    """Arguments that don't fit the target or are too large or too deep to be stored.

    Its message may name the path to what is meant, which leads through the keys of dicts; these are
    data, so that `in_clear` is given beside it.
    """

    def __init__(self, message: str = "", in_clear: str | None = None) -> None:
        super().__init__(message)
        self._in_clear = message if in_clear is None else in_clear

    @property
    def in_clear(self) -> str:
        return self._in_clear


class UnsupportedType(InvalidArguments, TypeError):
    """A value of a type that can't be stored; names its path: `kwargs.lines[0]: set of Foo`."""


class ObjectGone(AttemptsError):
    """A model row that the attempt refers to does not exist any more; `label`: "shop.Order".

    `target_pk`: the primary key, if it is the row whose method is the target.
    """

    def __init__(self, message: str, label: str = "a model") -> None:
        super().__init__(message)
        self.label = label
        self.target_pk: str | None = None

    @property
    def in_clear(self) -> str:
        """The text without a primary key that is one of the arguments; the target's is in clear."""
        if self.target_pk is not None:
            return f"{self.label} {printable(self.target_pk)} does not exist any more"
        return f"a row of {self.label} does not exist any more"


class ConditionFailed(AttemptsError):
    """A listener's `when` raised while its event was emitted; that error is the `__cause__`."""


class DuplicateAttempt(AttemptsError, IntegrityError):
    """An attempt for this target, method and idempotence token exists already."""


class QueueFull(AttemptsError):
    """Enqueueing would leave more attempts pending than the queue's `max_pending` allows.

    Nothing was written, and the transaction is usable; try again when workers have caught up.
    `queue`: its name. `max_pending`: how many it may have.
    """

    def __init__(self, queue: str, max_pending: int, new: int = 1) -> None:
        super().__init__(
            f"queue: {queue!r} has no room for {new} more: at most {max_pending} may be pending "
            "(max_pending); enqueue later, or let more workers perform it."
        )
        self.queue = queue
        self.max_pending = max_pending


class WrongTransaction(AttemptsError):
    """Only another database's transaction is open: enqueueing here would be no outbox."""


class WaitingInTransaction(AttemptsError, RuntimeError):
    """Waiting for an attempt inside an atomic block of its database could last for ever.

    What the block enqueues isn't there for workers before it commits, and at some isolation
    levels it never sees what has ended since it began.
    """


class AttemptUnsuccessful(AttemptsError):
    """An attempt that was waited for didn't succeed.

    `ending`: how it ended, as an `Ending`. Its `message` isn't part of this error's text: it may
    hold what the arguments held.
    """

    def __init__(self, ending: Any) -> None:
        super().__init__(ending)
        self.ending = ending

    def __str__(self) -> str:
        error = f": {printable(self.ending.error_class)}" if self.ending.error_class else ""
        return f"{_name_of(self.ending)} is {printable(self.ending.status)}{error}"


class AttemptFailed(AttemptUnsuccessful):
    """The attempt failed for good; `ending` has the class and the message of its last error."""


class AttemptRefused(AttemptFailed):
    """The target refused what was asked for: it raised `Refused`, or an expected error.

    Its text is the target's message, which is meant for whoever waits.
    """

    @property
    def message(self) -> str:
        """The message of what the target raised."""
        return str(self.ending.message)

    def __str__(self) -> str:
        return self.message


class AttemptExpired(AttemptUnsuccessful):
    """The attempt should no longer run; `ending.message` says why."""


class AttemptGone(AttemptUnsuccessful):
    """The attempt was deleted: pruned, or after its success in a queue that keeps no successes."""


class ResultNotKept(AttemptsError):
    """An attempt succeeded, and what its target returned wasn't kept.

    `ending`: how it ended, as an `Ending`.
    """

    def __init__(self, ending: Any) -> None:
        super().__init__(ending)
        self.ending = ending

    def __str__(self) -> str:
        return (
            f"{_name_of(self.ending)} has succeeded, and its result wasn't kept: say "
            "keep_result=True on its target or by using(). To wait without a result, there is "
            'gather(…, until="settled").'
        )


def _name_of(ending: Any) -> str:
    """Return the target and the id of an `Ending`'s attempt."""
    if not ending.target:
        return f"attempt {ending.attempt_id}"
    return f"{printable(f'{ending.target}.{ending.method_name}')} {ending.attempt_id}"


class InvalidTransition(AttemptsError):
    """The lifecycle has no such move from the attempt's present state."""


class DecryptionError(AttemptsError):
    """Stored bytes that could not be opened."""


class UnknownKey(DecryptionError):
    """The bytes were sealed with a key that this process does not have.

    `key_id`: what the key is called, for logs and for the attempt's reason; "" if nothing tells.
    """

    def __init__(self, message: str = "", key_id: str = "") -> None:
        super().__init__(message)
        self.key_id = key_id


class RetiredKey(UnknownKey):
    """The bytes were sealed with a retired key, which only `attempts rotate-keys` may use."""


class UnknownFormat(DecryptionError):
    """Stored bytes in a form that this release doesn't know; a newer one may have written them.

    `form`: what the form is called, such as "format 3", for logs and for the attempt's reason.
    """

    def __init__(self, message: str = "", form: str = "") -> None:
        super().__init__(message)
        self.form = form


class Tampered(DecryptionError):
    """The key is known and the bytes are not what it sealed for this row."""


class CipherUnavailable(AttemptsError):
    """The cipher can't be used now: it raised an error that isn't about the bytes.

    That error is the `__cause__`; `error_class` is the name of its class.
    """

    def __init__(self, message: str, error_class: str = "") -> None:
        super().__init__(message)
        self.error_class = error_class


class ResultNotSealed(AttemptsError):
    """The target returned, and the cipher could not seal what it returned."""


class StaleClaim(AttemptsError):
    """The claim under which an attempt was performed is not the current one any more."""


class AttemptTimeout(AttemptsError):
    """Raised inside a target whose timeout is over: it may clean up, and should end.

    An `async def` target is cancelled instead: it gets an `asyncio.CancelledError` where it awaits.
    A target that swallows it is ended with its process after a grace (`TIMEOUT_GRACE`).
    """


class AttemptCancelled(AttemptsError):
    """Raised inside a target that somebody wants interrupted; it may clean up, and should end.

    Its text is the reason that was given. An `async def` target is cancelled instead, as by a
    timeout, and what swallows it is ended with its process in the same way.
    """


class WorkerLost(AttemptsError):
    """The worker that held the attempt died or lost its lease."""


class Snooze(AttemptsError):
    """Raised by a target: put this attempt off without counting the execution.

    `delay`: seconds, or a timedelta, from now; not negative. `at_most`: after so many snoozes the
    next one fails the attempt; None for any number.
    """

    at_most: int | None = None

    def __init__(self, delay: float | timedelta, *, at_most: int | None = None) -> None:
        if at_most is not None:
            whole("Snooze: at_most", at_most, InvalidOption)
        self.at_most = at_most
        expected = "zero or more seconds"
        self.seconds = seconds(
            "Snooze: delay", delay, InvalidOption, expected, may_be_zero=True, most=FINITE
        )
        super().__init__(f"snoozed for {self.seconds:g} s")


class Retry(AttemptsError):
    """Raised by a target: this execution counts as one that did not succeed; call me again.

    `after`: seconds, or a timedelta, from now; None for the delay of the target's backoff.
    `reason`: the message of the failure that is recorded.
    """

    def __init__(self, after: float | timedelta | None = None, reason: str = "") -> None:
        super().__init__(reason or "the target asked for another execution")
        self.after: float | None = None
        if after is not None:
            expected = "zero or more seconds, a timedelta or None"
            self.after = seconds(
                "Retry: after", after, InvalidOption, expected, may_be_zero=True, most=FINITE
            )
        self.reason = reason


class Fail(AttemptsError):
    """Raised by a target: this attempt failed for good; retrying would not help."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason


class Refused(AttemptsError):
    """Raised by a target: the answer is no, and that is no malfunction; a base for a project's own.

    The attempt fails at once with the kind "refused". The message is kept for whoever waits.
    """


class Expire(AttemptsError):
    """Raised by a target: this attempt should no longer run."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason

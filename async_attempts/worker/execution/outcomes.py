"""Outcomes of executions: of what targets return and raise, with results and errors sealed."""

from __future__ import annotations

import logging
import random
import time
import traceback
from collections.abc import AsyncGenerator, Awaitable, Coroutine, Generator
from dataclasses import replace
from typing import Any, Final

from ...backoff import Backoff
from ...conf import defaults_of
from ...encryption import seal
from ...exceptions import (
    AttemptTimeout,
    CipherUnavailable,
    Expire,
    Fail,
    InvalidArguments,
    InvalidTarget,
    ObjectGone,
    ResultNotSealed,
    Snooze,
    Tampered,
    UnknownTarget,
    WorkerLost,
)
from ...lifecycle import (
    NOT_KEPT,
    Error,
    Expired,
    Failed,
    FailureKind,
    Outcome,
    Released,
    Retried,
    Snoozed,
    Succeeded,
)
from ...models import sealed_details
from ...payload import dump_value
from ...payload.limits import MAX_RESULT_BYTES
from ...plaintext import Plaintext, hide_values
from ...store import Claim
from ...targets import Policy
from ...values import CENTURY
from ..shared.shared_memory import now
from .sessions import tells_of_lost_session

logger = logging.getLogger("async_attempts")

MESSAGE_LENGTH: Final = 8_192
FRAME_LENGTH: Final = 2_048
TRACEBACK_LENGTH: Final = 32_768
REASON_LENGTH: Final = 1_000
CLASS_LENGTH: Final = 255
UNEXPECTED_DELAY: Final = 60.0
"""Seconds until an attempt is claimable again of which not even an outcome could be made."""

UNREACHABLE_DELAY: Final = (5.0, 15.0)
"""Seconds, at random between these: the database of a target's arguments may be away for long."""

HOPELESS: Final = (Tampered, InvalidArguments, ObjectGone, WorkerLost)
"""Raised before the target is called; another execution would find the same."""

HOPELESS_KINDS: Final = {Tampered: FailureKind.INTEGRITY, WorkerLost: FailureKind.CRASH}

DEFAULT_BACKOFF: Final = Backoff()

SEALING_SECONDS: Final = 10.0
SEALING_PAUSES: Final = Backoff.exponential(0.2, cap=2.0)
UNDONE: Final = (Awaitable, Generator, AsyncGenerator)

SUCCEEDED: Final = Succeeded()
UNKEPT: Final = Succeeded(NOT_KEPT)
PLAIN: Final = (SUCCEEDED, UNKEPT)
RELEASED: Final = Released()


def refuse_unawaited(result: Any) -> None:
    """Raise TypeError for what is still to be awaited or iterated over: none of it was done."""
    if result is None or not isinstance(result, UNDONE):
        return
    if isinstance(result, Coroutine | Generator):
        result.close()
    raise TypeError(
        f"The target returned a {type(result).__name__} that nobody awaits or iterates over: a "
        "decorator hides that the target is async or a generator, or an await is missing."
    )


def kept(claim: Claim, result: Any, *, until: float) -> Outcome:
    """Succeeded, with the sealed result if the attempt keeps it: None as well, for the proof.

    A cipher that can't be reached is tried again `until` the execution's deadline, by `now()`, but
    for SEALING_SECONDS at most. Then this raises ResultNotSealed.
    """
    if not claim.keep_result:
        return SUCCEEDED if result is None else UNKEPT
    try:
        plaintext = dump_value(result)
        if len(plaintext) > MAX_RESULT_BYTES:
            raise InvalidArguments(f"it has {len(plaintext)} bytes, over {MAX_RESULT_BYTES}")
        return Succeeded(_sealed(claim, plaintext, min(until, now() + SEALING_SECONDS)))
    except InvalidArguments as error:
        # Calling the target again would repeat its effects and not mend its result.
        return Failed(f"its result can't be kept: {error.in_clear}", error_of(claim, error))
    except BaseException as error:
        del result
        hide_values(error)
        raise


def _sealed(claim: Claim, plaintext: Plaintext, until: float) -> bytes:
    tries = 0
    while True:
        tries += 1
        try:
            return seal(plaintext, claim.context("result"))
        except CipherUnavailable as error:
            pause = SEALING_PAUSES.delay(tries)
            if now() + pause >= until:
                raise ResultNotSealed(
                    f"the target returned, but its result could not be sealed: {error.error_class}"
                ) from error
            time.sleep(pause)


def outcome_of_preparing(claim: Claim, exception: BaseException) -> Outcome:
    """Return the outcome of an execution whose arguments or target could not be had.

    What can't be opened here, or now, is for `missing_keys`.
    """
    if tells_of_lost_session(exception):
        return given_back(claim, exception)
    if isinstance(exception, HOPELESS):
        kinds = [kind for cls, kind in HOPELESS_KINDS.items() if isinstance(exception, cls)]
        kind = kinds[0] if kinds else FailureKind.ERROR
        return Failed(plain_text(exception.in_clear), error_of(claim, exception, kind))
    is_unknown = isinstance(exception, UnknownTarget | InvalidTarget)
    kind = FailureKind.UNKNOWN_TARGET if is_unknown else FailureKind.ERROR
    outcome = _again_or_failed(claim, Policy(), exception, kind)
    return replace(outcome, was_called=False) if isinstance(outcome, Retried) else outcome


def given_back(claim: Claim, exception: BaseException) -> Released:
    """Return a release, uncounted: the database failed before the target was called."""
    logger.warning("%s: given back before its target: %s", claim, type(exception).__name__)
    return Released(random.uniform(*UNREACHABLE_DELAY))


def outcome_of_target(claim: Claim, policy: Policy, exception: BaseException) -> Outcome:
    """Return the outcome of an execution whose target raised `exception`. Never raises."""
    try:
        return _asked_for(claim, policy, exception)
    except Exception as broken:
        # A reason without text, a project's own Backoff or Snooze: an error as any other.
        return _again_or_failed(claim, Policy(), broken, FailureKind.ERROR)


def _asked_for(claim: Claim, policy: Policy, exception: BaseException) -> Outcome:
    if isinstance(exception, Snooze):
        return Snoozed(_storable(exception.seconds))
    if isinstance(exception, Expire):
        return Expired(plain_text(exception.reason))
    if isinstance(exception, ResultNotSealed) and not policy.atomic:
        # Calling the target again would repeat its effects; in atomic mode they are rolled back.
        return Failed(str(exception), error_of(claim, exception))
    if isinstance(exception, Fail):
        return Failed(plain_text(exception.reason), error_of(claim, exception))
    timed_out = isinstance(exception, AttemptTimeout)
    kind = FailureKind.TIMEOUT if timed_out else FailureKind.ERROR
    return _again_or_failed(claim, policy, exception, kind)


def _again_or_failed(
    claim: Claim, policy: Policy, exception: BaseException, kind: FailureKind
) -> Outcome:
    error = error_of(claim, exception, kind)
    delay, reason = again_or_never(claim.num_attempts, claim.max_attempts, policy, claim.queue)
    if not reason and backoff_of(policy, claim.queue).gives_up_on(exception):
        reason = f"its backoff gives up on {error.error_class}"
    return Failed(reason, error) if reason else Retried(delay, error)


def again_or_never(
    num_attempts: int, max_attempts: int | None, policy: Policy, queue: str
) -> tuple[float, str]:
    """The seconds until the next execution, and why there is none, if there is none."""
    allowed = executions_allowed(max_attempts, policy, queue)
    if num_attempts >= allowed:
        return 0.0, f"attempts exhausted: {num_attempts} of {allowed}"
    return _storable(backoff_of(policy, queue).delay(num_attempts)), ""


def backoff_of(policy: Policy, queue: str) -> Backoff:
    """Return the backoff of a target's attempts: its own, else the queue's."""
    return policy.backoff or defaults_of(queue).backoff or DEFAULT_BACKOFF


def _storable(delay: float) -> float:
    """`delay` in seconds, within what every database can add to its now."""
    return min(max(0.0, delay), CENTURY)


def executions_allowed(max_attempts: int | None, policy: Policy, queue: str) -> int:
    """Return the limit of executions: the row's, else the target's, its Backoff's, the queue's."""
    of_backoff = policy.backoff.max_attempts if policy.backoff else None
    return max_attempts or policy.max_attempts or of_backoff or defaults_of(queue).max_attempts


def error_of(
    claim: Claim, exception: BaseException, kind: FailureKind = FailureKind.ERROR
) -> Error:
    """The record of `exception`; recording never fails, whatever its `str()` does."""
    try:
        message = str(exception)
    except BaseException as broken:
        message = f"(its str() raised {type(broken).__name__})"
    try:
        # Each part by itself: a long message must not push the frames out of the record.
        parts = traceback.format_exception(exception)
        lines = "".join(_clipped(part) for part in parts)
    except BaseException as broken:
        lines = f"(formatting the traceback raised {type(broken).__name__})"
    details = sealed_details(
        plain_text(message, MESSAGE_LENGTH),
        plain_text(lines[-TRACEBACK_LENGTH:], TRACEBACK_LENGTH),
        claim.context("error"),
    )
    return Error(kind, class_name(exception), details)


def class_name(exception: BaseException) -> str:
    """The dotted name of its class, short for Python's own."""
    cls = type(exception)
    name = (
        cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"
    )
    return plain_text(name, CLASS_LENGTH)


def _clipped(part: str) -> str:
    return part if len(part) <= FRAME_LENGTH else f"{part[:FRAME_LENGTH]}…\n"


def plain_text(text: object, length: int = REASON_LENGTH) -> str:
    """`text`, as any database takes it: no NUL, no lone surrogates, at most `length` characters."""
    encodable = str(text).encode("utf-8", "replace").decode().replace("\0", "�")
    return encodable if len(encodable) <= length else encodable[: length - 1] + "…"

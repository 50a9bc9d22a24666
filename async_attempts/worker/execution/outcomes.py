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
from ...conf import settings
from ...encryption import seal
from ...exceptions import (
    AttemptCancelled,
    AttemptTimeout,
    CipherUnavailable,
    Expire,
    Fail,
    InvalidArguments,
    InvalidTarget,
    ObjectGone,
    Refused,
    ResultNotSealed,
    Retry,
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
from ...store import CANCELLED, Claim
from ...targets import Policy, known_policy
from ..shared.shared_memory import now
from .recorded_text import class_name, plain_text
from .retrying import has_snoozed_enough, next_execution, storable
from .sessions import tells_of_lost_session

logger = logging.getLogger("async_attempts")

MESSAGE_LENGTH: Final = 8_192
FRAME_LENGTH: Final = 2_048
TRACEBACK_LENGTH: Final = 32_768
UNEXPECTED_DELAY: Final = 60.0
"""Seconds until an attempt is claimable again of which not even an outcome could be made."""

UNREACHABLE_DELAY: Final = (5.0, 15.0)
"""Seconds, at random between these: the database of a target's arguments may be away for long."""

HOPELESS: Final = (Tampered, InvalidArguments, ObjectGone, WorkerLost)
"""Raised before the target is called; another execution would find the same."""

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
    if isinstance(exception, ObjectGone) and (policy := _if_gone(claim)) != "fail":
        return _ended_without_object(claim, policy, exception)
    if isinstance(exception, HOPELESS):
        return Failed(
            plain_text(exception.in_clear), error_of(claim, exception, _kind_of_hopeless(exception))
        )
    is_unknown = isinstance(exception, UnknownTarget | InvalidTarget)
    kind = FailureKind.UNKNOWN_TARGET if is_unknown else FailureKind.ERROR
    outcome = _again_or_failed(claim, Policy(), exception, kind)
    return replace(outcome, was_called=False) if isinstance(outcome, Retried) else outcome


def _kind_of_hopeless(exception: BaseException) -> FailureKind:
    if isinstance(exception, Tampered):
        return FailureKind.INTEGRITY
    return FailureKind.CRASH if isinstance(exception, WorkerLost) else FailureKind.ERROR


def _if_gone(claim: Claim) -> str:
    """Return what the target's author, else the setting, wants for a row that is gone."""
    # The target was looked up before its arguments were loaded.
    policy = known_policy(claim.target, claim.method_name)
    return (policy and policy.if_gone) or settings().IF_GONE


def _ended_without_object(claim: Claim, policy: str, exception: ObjectGone) -> Outcome:
    """Return the outcome of an attempt for which there is nothing to do any more."""
    if policy == "ignore":
        logger.info("%s: its target isn't called: %s", claim, exception.in_clear)
        try:
            return kept(claim, None, until=now() + SEALING_SECONDS)
        except ResultNotSealed as error:
            return given_back(claim, error)
    return Expired(plain_text(exception.in_clear))


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
        return _snoozed(claim, exception)
    if isinstance(exception, Expire | AttemptCancelled):
        return _expired(exception)
    if isinstance(exception, ResultNotSealed) and not policy.atomic:
        # Calling the target again would repeat its effects; in atomic mode they are rolled back.
        return Failed(str(exception), error_of(claim, exception))
    if isinstance(exception, Fail):
        return Failed(plain_text(exception.reason), error_of(claim, exception))
    kind = _kind_of(exception, policy)
    if kind == FailureKind.REFUSED:
        error = error_of(claim, exception, kind)
        return Failed(plain_text(f"refused: {error.error_class}"), error)
    return _again_or_failed(claim, policy, exception, kind)


def _expired(exception: Expire | AttemptCancelled) -> Expired:
    if isinstance(exception, Expire):
        return Expired(plain_text(exception.reason))
    return Expired(plain_text(exception) or CANCELLED.reason)


def _kind_of(exception: BaseException, policy: Policy) -> FailureKind:
    if isinstance(exception, AttemptTimeout):
        return FailureKind.TIMEOUT
    is_answer = isinstance(exception, (Refused, *policy.expected))
    is_refused = is_answer and not isinstance(exception, Retry)
    return FailureKind.REFUSED if is_refused else FailureKind.ERROR


def _snoozed(claim: Claim, snooze: Snooze) -> Outcome:
    if has_snoozed_enough(claim, claim.database, snooze):
        times = "once" if snooze.at_most == 1 else f"{snooze.at_most} times"
        return Failed(f"snoozed {times}, and may not be again", error_of(claim, snooze))
    return Snoozed(storable(snooze.seconds))


def _again_or_failed(
    claim: Claim, policy: Policy, exception: BaseException, kind: FailureKind
) -> Outcome:
    error = error_of(claim, exception, kind)
    following = next_execution(claim, policy, claim.database, exception)
    if following.reason:
        return Failed(following.reason, error)
    return Retried(following.delay, error, following.queue, following.priority)


def error_of(
    claim: Claim, exception: BaseException, kind: FailureKind = FailureKind.ERROR
) -> Error:
    """The record of `exception`; recording never fails, whatever its `str()` does."""
    try:
        message = str(exception)
    except BaseException as broken:
        message = f"(its str() raised {type(broken).__name__})"
    if kind == FailureKind.REFUSED or isinstance(exception, Retry | Snooze):
        # Meant so: nobody looks for its line.
        lines = ""
    else:
        lines = _traceback_of(exception)
    details = sealed_details(
        plain_text(message, MESSAGE_LENGTH),
        plain_text(lines[-TRACEBACK_LENGTH:], TRACEBACK_LENGTH),
        claim.context("error"),
    )
    return Error(kind, class_name(exception), details)


def _traceback_of(exception: BaseException) -> str:
    try:
        # Each part by itself: a long message must not push the frames out of the record.
        parts = traceback.format_exception(exception)
        return "".join(_clipped(part) for part in parts)
    except BaseException as broken:
        return f"(formatting the traceback raised {type(broken).__name__})"


def _clipped(part: str) -> str:
    return part if len(part) <= FRAME_LENGTH else f"{part[:FRAME_LENGTH]}…\n"

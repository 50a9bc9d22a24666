"""Perform one claimed attempt: open, resolve, call; whatever happens becomes an outcome."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final, NamedTuple
from uuid import UUID

from asgiref.sync import async_to_sync
from django.db import connections, transaction

from ..conf import SETTING, settings
from ..encryption import cipher
from ..exceptions import InvalidArguments, StaleClaim
from ..lifecycle import Failed, Outcome, Succeeded
from ..payload import Arguments, dump_value, load_arguments
from ..store import Claim, Store
from ..targets import Resolved, TargetName, resolve
from .current import CurrentAttempt, _current
from .errors import error_of, outcome_of_preparing, outcome_of_target
from .leftovers import (
    BrokenTransaction,
    clean_connections,
    open_blocks,
    refuse_open_blocks,
    refuse_swallowed_errors,
)

logger = logging.getLogger("async_attempts")

ENVELOPE_BYTES: Final = 1024
"""More than any cipher adds to what it encrypts."""

MAX_RESULT_BYTES: Final = 1_048_576
"""A sixteenth of what MariaDB takes in one statement: an outcome that the database refuses would
be in the worker's hand for ever."""


class Execution(NamedTuple):
    """What performing a claim came to. `recorded`: the attempt's own transaction did that."""

    claim: Claim
    outcome: Outcome
    exception: BaseException | None = None
    recorded: bool = False


class Runner:
    """Performs claims for one worker."""

    def __init__(self, store: Store, worker_id: UUID) -> None:
        self.store = store
        self.worker_id = worker_id

    def perform(self, claim: Claim) -> Execution:
        """Call the claim's target once. Nothing that it raises leaves this method."""
        blocks = open_blocks()
        try:
            return self._perform(claim)
        finally:
            clean_connections(blocks)

    def _perform(self, claim: Claim) -> Execution:
        try:
            refuse_oversized(claim)
            # Authenticated first: a forged row never gets as far as an import.
            plaintext = cipher().decrypt(claim.args, claim.context("args"))
            name = TargetName(claim.target, claim.target_pk, claim.method_name)
            resolved = resolve(name, claim.database)
            arguments = load_arguments(plaintext)
        except BaseException as exception:
            return Execution(claim, outcome_of_preparing(claim, exception), exception)
        try:
            if resolved.policy.atomic:
                return self._perform_atomically(claim, resolved, arguments)
            return Execution(claim, self._called(claim, resolved, arguments))
        except BaseException as exception:
            return Execution(claim, outcome_of_target(claim, resolved.policy, exception), exception)

    def _called(self, claim: Claim, resolved: Resolved, arguments: Arguments) -> Outcome:
        function: Callable[..., Any] = resolved.function
        if resolved.is_coroutine:
            function = async_to_sync(function)
        blocks = open_blocks()
        token = _current.set(CurrentAttempt(claim, resolved.policy.timeout))
        try:
            result = function(*arguments.args, **arguments.kwargs)
        finally:
            _current.reset(token)
        refuse_open_blocks(blocks)
        refuse_unawaited(result)
        return kept(claim, result)

    def _perform_atomically(
        self, claim: Claim, resolved: Resolved, arguments: Arguments
    ) -> Execution:
        """Call the target and finish the attempt in one transaction: both happen, or neither."""
        connection = connections[claim.database]
        committed: list[bool] = []
        outcome: Outcome | None = None
        try:
            with transaction.atomic(claim.database, durable=True):
                if not self.store.hold(self.worker_id, claim):
                    raise StaleClaim(f"{claim} is claimed anew or was ended by a person.")
                transaction.on_commit(lambda: committed.append(True), claim.database)
                with refuse_swallowed_errors(connection):
                    outcome = self._called(claim, resolved, arguments)
                if connection.needs_rollback:
                    raise BrokenTransaction("The target left its transaction to be rolled back.")
                self.store.finish_within(self.worker_id, [(claim, outcome)])
        except BaseException as exception:
            if not committed or outcome is None:
                raise
            # The first hook after the commit is ours, so this came out of one of the target's.
            logger.error("%s: on_commit raised %s", claim, type(exception).__name__)
        return Execution(claim, outcome, recorded=True)


def refuse_oversized(claim: Claim) -> None:
    """Raises InvalidArguments before anything so large is decrypted."""
    limit = settings().MAX_ARGS_BYTES + ENVELOPE_BYTES
    if len(claim.args) > limit:
        raise InvalidArguments(
            f"The stored arguments have {len(claim.args)} bytes, more than "
            f"{SETTING}['MAX_ARGS_BYTES'] allows ({limit} with the envelope)."
        )


def refuse_unawaited(result: Any) -> None:
    """Raises TypeError for a coroutine: what it would have done was not done."""
    if isinstance(result, Coroutine):
        result.close()
        raise TypeError(
            "The target returned a coroutine that nobody awaits: a decorator hides that it is "
            "async; make the decorator's own function async, too."
        )


def kept(claim: Claim, result: Any) -> Outcome:
    """Succeeded, with the sealed result if the attempt keeps it."""
    if not claim.keep_result or result is None:
        return Succeeded()
    try:
        plaintext = dump_value(result)
        if len(plaintext) > MAX_RESULT_BYTES:
            raise InvalidArguments(f"it has {len(plaintext)} bytes, over {MAX_RESULT_BYTES}")
    except InvalidArguments as error:
        # Calling the target again would repeat its effects and not mend its result.
        return Failed(f"its result can't be kept: {error}", error_of(claim, error))
    return Succeeded(cipher().encrypt(plaintext, claim.context("result")))

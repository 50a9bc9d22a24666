"""Perform one claimed attempt: open, resolve, call; whatever happens becomes an outcome."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from contextvars import copy_context
from typing import Any, NamedTuple, Protocol

from asgiref.sync import async_to_sync
from django.db import Error, connections, transaction

from ... import signals
from ...conf import settings
from ...exceptions import AttemptCancelled, CipherUnavailable, StaleClaim, UnknownFormat, UnknownKey
from ...lifecycle import Outcome
from ...payload import Arguments
from ...store import TOO_LATE, Claim, Store
from ..shared.shared_memory import ChildState, now
from .connection_cleanup import (
    NO_BLOCKS,
    BrokenTransaction,
    cancel_queries,
    close_connections,
    connections_here,
    open_blocks,
    refuse_swallowed_errors,
    saved_testcase,
)
from .current import CurrentAttempt, _current
from .lost_executions import refuse_suspect, unexpected
from .missing_keys import MissingKeys
from .outcomes import (
    RELEASED,
    SUCCEEDED,
    given_back,
    kept,
    outcome_of_preparing,
    outcome_of_target,
    refuse_unawaited,
)
from .prepare import Prepared, prepare
from .progress import UnwrittenProgress
from .sessions import has_left_transaction, tells_of_lost_session
from .timeouts import Deadline, Watch

logger = logging.getLogger("async_attempts")


class Execution(NamedTuple):
    """A claim that was performed, and its outcome. `recorded`: in its own transaction already.

    `offset`: of its note in shared memory. `seconds`: its duration.
    """

    claim: Claim
    outcome: Outcome
    exception: BaseException | None = None
    recorded: bool = False
    offset: int | None = None
    seconds: float = 0.0


class Lease(Protocol):
    """The lease of the worker that performs."""

    @property
    def holds_until(self) -> float:
        """The end of the lease, by `shared_memory.now()`; after that nothing is begun."""


class AsyncExecutor(Protocol):
    """Performs `async def` targets, several at once."""

    def perform(self, ready: Prepared) -> bool:
        """Perform it and bring its execution back; False if there is no room for it."""


class NotCalled(Exception):
    """The database failed before an atomic target was called, which says nothing about that."""

    def __init__(self, error: Error) -> None:
        super().__init__()
        self.error = error


class Runner:
    """Performs claims in one thread of a worker."""

    def __init__(
        self,
        store: Store,
        lease: Lease,
        watch: Watch,
        child_state: ChildState | None = None,
        *,
        async_executor: AsyncExecutor | None = None,
        progress: UnwrittenProgress | None = None,
        missing_keys: MissingKeys | None = None,
    ) -> None:
        self.store = store
        self.lease = lease
        self.watch = watch
        self.child_state = child_state
        self.async_executor = async_executor
        self.progress = progress or UnwrittenProgress(store)
        self.missing_keys = missing_keys or MissingKeys()
        self.connections = connections_here()
        self._deadline = Deadline(0.0)
        self._noted: int | None = None

    def deadlines(self) -> Iterable[Deadline]:
        """Return the deadline of the target that is being called in this runner's thread."""
        deadline = self._deadline
        return () if deadline.on_move is None else (deadline,)

    def heed(self, deadline: Deadline) -> None:
        """Have this runner's thread heed its deadline, which was brought forward."""
        self.watch.heed()

    def perform(self, claim: Claim) -> Execution | None:
        """Call the claim's target once. Nothing that anybody raises leaves this method.

        None: it is being performed elsewhere.
        """
        self._noted = None
        try:
            execution = self._begin(claim)
        except BaseException as exception:
            outcome = unexpected(claim, exception)
            execution = Execution(claim, outcome, exception, offset=self._noted)
        if self.child_state is not None and execution is not None and execution.offset is not None:
            self.child_state.move(execution.offset, 0.0)
        return execution

    def _begin(self, claim: Claim) -> Execution | None:
        moment = now()
        if moment >= self.lease.holds_until:
            # Others may have taken this worker for dead, and the attempt with it.
            return Execution(claim, RELEASED)
        if claim.seconds_left is not None and claim.is_late(moment):
            return Execution(claim, TOO_LATE)
        if moment >= self.connections.looks_at:
            self.connections.replace_ended(moment)
        offset = None
        if self.child_state is not None:
            offset = self.child_state.begin(claim.id_bytes, claim.claim_seq, moment + unprepared())
            self._noted = offset
        if signals.started.receivers:
            signals.started.send_robust(Execution, claim=claim)
        blocks = NO_BLOCKS
        try:
            if self.connections.are_clean():
                execution = self._perform(claim, offset, blocks, moment)
            else:
                with saved_testcase():
                    blocks = open_blocks()
                    execution = self._perform(claim, offset, blocks, moment)
        finally:
            if self.watch.has_raised:
                self.watch.has_raised = False
                close_connections(blocks)
            if not self.connections.are_clean():
                self.connections.clean(blocks)
        return execution

    def _perform(
        self, claim: Claim, offset: int | None, blocks: Mapping[str, int], began: float
    ) -> Execution | None:
        try:
            ready = self._prepared(claim, blocks)
            if claim.num_crashes:
                refuse_suspect(claim, ready.resolved.policy)
        except (UnknownKey, UnknownFormat, CipherUnavailable) as error:
            return Execution(claim, self.missing_keys.put_off(claim, error), error, offset=offset)
        except BaseException as exception:
            return Execution(
                claim, outcome_of_preparing(claim, exception), exception, offset=offset
            )
        policy = ready.resolved.policy
        if ready.resolved.is_coroutine and self.async_executor is not None:
            if self.child_state is not None and offset is not None:
                # It begins there, not here.
                self._noted = None
                self.child_state.recorded(offset)
            return None if self.async_executor.perform(ready) else Execution(claim, RELEASED)
        try:
            if policy.atomic:
                return self._perform_atomically(ready, offset, blocks, began)
            outcome = copy_context().run(self._called, ready, offset, blocks)
            return Execution(claim, outcome, None, False, offset, now() - began)
        except BaseException as exception:
            if type(exception) is AttemptCancelled and not exception.args:
                # In a thread only its class could be raised.
                exception = AttemptCancelled(self._deadline.interrupted_for or "")
            outcome = outcome_of_target(claim, policy, exception)
            return Execution(claim, outcome, exception, False, offset, now() - began)

    def _prepared(self, claim: Claim, blocks: Mapping[str, int]) -> Prepared:
        """`prepared`, once more when a session that it read by was lost."""
        try:
            return prepare(claim)
        except Error as error:
            if not tells_of_lost_session(error):
                raise
        self.connections.clean(blocks)
        return prepare(claim)

    def _called(self, ready: Prepared, offset: int | None, blocks: Mapping[str, int]) -> Outcome:
        """Call the target within its timeout; in a context of its own."""
        function: Callable[..., Any] = ready.resolved.function
        self._deadline = deadline = Deadline(
            now() + ready.timeout, self.child_state, offset, ready.claim
        )
        say = self.progress.hold if ready.resolved.policy.atomic else self.progress.say
        _current.set(CurrentAttempt(ready, deadline, say))
        deadline.on_move = self._moved
        deadline.note()
        self.watch.begin(deadline)
        try:
            if ready.resolved.is_coroutine:
                result = async_to_sync(_awaited)(function, ready.arguments)
            else:
                result = function(*ready.arguments.args, **ready.arguments.kwargs)
        finally:
            self.watch.end()
            if self.watch.has_raised:
                cancel_queries()
            deadline.on_move = None
        try:
            if blocks or not self.connections.are_clean():
                self.connections.refuse_left_open(blocks)
            if result is None and not ready.claim.keep_result:
                return SUCCEEDED
            refuse_unawaited(result)
            return kept(ready.claim, result, until=deadline.at)
        except BaseException:
            del result  # An error report would show it.
            raise

    def _moved(self) -> None:
        """Heed the new deadline of the execution that goes on in this thread."""
        self.watch.begin(self._deadline)

    def _perform_atomically(
        self, ready: Prepared, offset: int | None, blocks: Mapping[str, int], began: float
    ) -> Execution:
        """`_in_one_transaction`; once more, then given back, where the target wasn't called."""
        try:
            return self._in_one_transaction(ready, offset, began)
        except NotCalled:
            self.connections.clean(blocks)
        try:
            return self._in_one_transaction(ready, offset, began)
        except NotCalled as not_called:
            error, claim = not_called.error, ready.claim
            return Execution(claim, given_back(claim, error), error, offset=offset)

    def _in_one_transaction(self, ready: Prepared, offset: int | None, began: float) -> Execution:
        """Call the target and finish the attempt in one transaction: both happen, or neither."""
        claim = ready.claim
        connection = connections[claim.database]
        committed: list[bool] = []
        is_held = False
        outcome: Outcome | None = None
        try:
            with transaction.atomic(claim.database, durable=True):
                if not self.store.outcomes.hold(claim.worker_id, claim):
                    if self.store.outcomes.still_holds(claim.worker_id, claim):
                        # Another transaction changes the row: nothing waits for its end here.
                        return Execution(claim, RELEASED, offset=offset)
                    raise StaleClaim(f"{claim} is claimed again or was ended by a person.")
                is_held = True
                transaction.on_commit(lambda: committed.append(True), claim.database)
                with refuse_swallowed_errors(connection):
                    outcome = copy_context().run(self._called, ready, offset, open_blocks())
                if connection.needs_rollback:
                    raise BrokenTransaction("The target left its transaction to be rolled back.")
                if has_left_transaction(connection):
                    raise BrokenTransaction(
                        "The target ended its transaction by a COMMIT or ROLLBACK of its own."
                    )
                self.progress.write_within(claim)
                self.store.outcomes.finish_within(claim.worker_id, [(claim, outcome)])
        except BaseException as exception:
            if not is_held and isinstance(exception, Error):
                raise NotCalled(exception) from exception
            if not committed or outcome is None:
                raise
            # The first hook after the commit is ours, so this came out of one of the target's.
            logger.error("%s: on_commit raised %s", claim, type(exception).__name__)
        self.progress.committed(claim)
        return Execution(claim, outcome, None, True, offset, now() - began)


def unprepared() -> float:
    """Seconds that opening and finding may take, before the timeout of the target is known."""
    chosen = settings()
    return chosen.DEFAULT_TIMEOUT + chosen.TIMEOUT_GRACE


async def _awaited(function: Callable[..., Any], arguments: Arguments) -> Any:
    """Await the target; a frame of its own, so that its caller's frames show no arguments."""
    return await function(*arguments.args, **arguments.kwargs)

"""The reaper: takes back what a dead child held, in a process of its own since it calls hooks."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS, Error

from ...conf import settings
from ...encryption import context_of, open_sealed
from ...lifecycle import FailureKind
from ...models import AbstractAttempt
from ...models.fields import Mark, marked
from ...models.large_values import require_fetched
from ...pauses import Pauses
from ...store import Store, Verdict, store_for
from ...store.transactions import is_about_a_value
from ...targets import Policy, is_at_most_once, known_policy, target_named
from ..execution.acknowledge import announce_rescue
from ..execution.announcer import Announcer, InThreads
from ..execution.retrying import next_execution
from ..maintenance.maintenance import set_malformed_aside
from ..shared.connections import use_own_connection
from ..shared.fork import die_with_parent
from ..shared.shared_memory import Begun, now
from .os_signals import ignore, reset_in_forks

logger = logging.getLogger("async_attempts")

PAUSE: Final = 0.1

COLUMNS: Final = marked(AbstractAttempt, Mark.BOUND)
"""The columns that name the call, and those that its arguments are sealed for."""

Policies = Mapping[UUID, Policy]
"""The policies of attempts' targets, by the attempts' ids."""


@dataclass(frozen=True, slots=True)
class ChildExit:
    """The end of a child, and the attempts that it left.

    `timed_out`: attempts that ignored their timeouts, so that it had to be killed. `is_blameless`:
    no attempt is to blame. `is_unexplained`: it neither ended by itself nor was it killed by its
    supervisor.
    """

    worker_id: UUID
    how: str
    begun: Collection[Begun] = ()
    timed_out: frozenset[UUID] = frozenset()
    is_blameless: bool = False
    is_unexplained: bool = False

    def verdict(
        self, policies: Policies, row: Any, database: str = DEFAULT_DB_ALIAS
    ) -> Verdict | None:
        """Return the verdict on one attempt that the child held; None gives it back uncounted."""
        if self.is_unexplained and not self.begun:
            # It died of what it had claimed, it may be: of the size of a row, say.
            return Verdict(FailureKind.CRASH, f"its process was lost: {self.how}", has_begun=False)
        seqs = {begun.attempt_id: begun.claim_seq for begun in self.begun}
        if seqs.get(row.id) != row.claim_seq:
            return None
        if not self.is_blameless and row.id in self.timed_out:
            return _timed_out(row, policies.get(row.id, Policy()), database)
        if self._blames_others and _may_be_repeated(row, policies.get(row.id)):
            return None
        return Verdict(FailureKind.CRASH, f"its process was lost: {self.how}")

    @property
    def in_question(self) -> Collection[UUID]:
        """The attempts whose targets' policies have a say."""
        begun = {one.attempt_id for one in self.begun} if self._blames_others else set()
        return begun | self.timed_out

    @property
    def _blames_others(self) -> bool:
        """True if what had begun isn't to blame, but for what has timed out."""
        return self.is_blameless or bool(self.timed_out)


def reap(database: str, child_exit: ChildExit) -> int:
    """Take back all that a dead child held; returns an exit code.

    Tries for as long as a lease: the server may not have noticed yet that the child's sessions are
    dead. After that any worker rescues the rest.
    """
    ignore(signal.SIGINT, signal.SIGTERM)
    reset_in_forks()
    die_with_parent(signal.SIGKILL)
    use_own_connection(database)
    announcer, store = InThreads(), store_for(database)
    store.ends.deliver_by(announcer.call)
    try:
        return _take_back(store, child_exit, announcer)
    finally:
        announcer.close(settings().LEASE)


def _take_back(store: Store, child_exit: ChildExit, announcer: Announcer) -> int:
    until = now() + settings().LEASE
    pauses = Pauses(PAUSE, settings().LEASE / 3)
    while now() < until:
        try:
            policies = _policies(store, child_exit.in_question)
            verdict_of = partial(child_exit.verdict, policies, database=store.database.alias)
            rescue = store.workers.reap(child_exit.worker_id, verdict_of)
        except Exception as error:
            if is_about_a_value(error) and set_malformed_aside(store):
                continue
            if not isinstance(error, Error):
                raise
            logger.warning("a dead child's attempts can't be taken back: %s", type(error).__name__)
            store.database.connection.close()
        else:
            if rescue is not None and rescue.attempt_ids:
                announce_rescue(store, rescue, announcer)
            if rescue is None or rescue.is_complete:
                return 0
            pauses.reset()
        time.sleep(pauses.next())
    return 1


def _policies(store: Store, ids: Collection[UUID]) -> Policies:
    """The policies of these attempts' targets, as far as they can be had."""
    rows = store.database.attempts.filter(pk__in=ids).only(*COLUMNS) if ids else ()
    found = {row.pk: _policy_of(row, store) for row in rows}
    return {pk: policy for pk, policy in found.items() if policy is not None}


def _policy_of(row: AbstractAttempt, store: Store) -> Policy | None:
    """Return the policy; None for a target that this code lacks or a row that can't be opened.

    A module is imported only by a name that the arguments are sealed for, as in `prepare`: the
    child knew the target, and a person who can write rows may have put another name there since.
    """
    if (policy := known_policy(row.target, row.method_name)) is not None:
        return policy
    try:
        require_fetched(row.args, str(row.pk), "its target's policy isn't looked for.")
        open_sealed(row.args, context_of("args", row.pk, row, store.database.alias))
        return target_named(row.target, row.method_name).policy
    except Exception:
        return None


def _may_be_repeated(row: Any, policy: Policy | None) -> bool:
    """Return True for what had begun unless it must not begin again, as far as is known here."""
    return policy is not None and not is_at_most_once(policy, row.queue)


def _timed_out(row: Any, policy: Policy, database: str) -> Verdict:
    """Return the verdict on an ignored timeout: due again by its backoff, or failed for good."""
    try:
        following = next_execution(row, policy, database)
    except Exception:
        # A project's own Backoff.
        following = next_execution(row, Policy(), database)
    message = "it ignored its timeout, and was ended with its process"
    delay, reason, queue, priority = following
    return Verdict(FailureKind.TIMEOUT, message, delay, reason, queue=queue, priority=priority)

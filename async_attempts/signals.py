"""Signals of what workers do; `ended` also tells of what people end.

Each is sent after the move is committed, and but for the exceptions below with `claim`, the
worker's record of the attempt (`async_attempts.store.Claim`). A signal without receivers costs
nothing.

In a child, receivers are called in a thread of their own, one after the other and in their order,
but for those of `started`, which are called where the target is.
"""

from __future__ import annotations

from django.dispatch import Signal


class Announced(Signal):
    """A signal of the workers. `line`: the same signal for the package's own log lines.

    Receivers may be slow, so log lines are written in another thread.
    """

    def __init__(self) -> None:
        super().__init__()
        self.line = Signal()


enqueued = Signal()
"""With `attempt`, the row; within the caller's transaction, not after its commit."""

started = Signal()
succeeded = Announced()
retried = Announced()
"""With `outcome` (delay, error) and `exception`."""

progressed = Announced()
"""With `percent` and `note`, as they were written."""

snoozed = Announced()
failed = Announced()
"""With `outcome` (reason, error) and `exception`. For what a lost worker held, see `rescued`."""

expired = Announced()
"""Its target raised Expire, or it was claimed too late. (Of unclaimed ones `overdue` tells.)"""

released = Announced()
stale = Announced()
"""An outcome was refused, since a newer claim or a person was faster; with `outcome`."""

rescued = Announced()
"""A dead worker's attempts were taken back; with `worker_id`, `attempt_ids`, and `failed_ids`,
those of them that had crashed too often."""

ended = Signal()
"""Attempts have ended, whoever ended them: a worker, a sweep, or a person; with `database`,
`status` and `attempt_ids`. A crash between the commit and this loses it: what must happen is for
`on_failed` and `on_expired`."""

overdue = Announced()
"""Attempts that no worker had claimed before their `expires_at` were expired; with `database` and
`attempt_ids`."""

worker_started = Announced()
"""With `worker`."""

worker_stopped = Announced()
"""With `worker`."""

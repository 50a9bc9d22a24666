"""What the package announces.

That is what workers do; people's verbs are in the admin's log. Each is sent after the move is
committed, with `claim` (what the worker knows of the attempt: `async_attempts.store.Claim`) where
not said otherwise. Nothing is built or sent for a signal that nobody listens to.
"""

from __future__ import annotations

from django.dispatch import Signal

enqueued = Signal()
"""With `attempt`, the row; within the caller's transaction, not after its commit."""

started = Signal()
succeeded = Signal()
retried = Signal()
"""With `outcome` (delay, error) and `exception`."""

progressed = Signal()
"""With `percent` and `note`, as they were written."""

snoozed = Signal()
failed = Signal()
"""With `outcome` (reason, error) and `exception`. For what a lost worker held, see `rescued`."""

expired = Signal()
"""Its target raised Expire, or it was claimed too late; for what nobody claimed, see `overdue`."""

released = Signal()
stale = Signal()
"""An outcome was refused since a newer claim, or a person, was faster; with `outcome`."""

rescued = Signal()
"""A dead worker's attempts were taken back; with `worker_id`, `attempt_ids`, and `failed_ids`,
those of them that had crashed too often."""

overdue = Signal()
"""Attempts that nobody had claimed before their `expires_at` were expired; with `database` and
`attempt_ids`."""

worker_started = Signal()
"""With `worker`."""

worker_stopped = Signal()
"""With `worker`."""

"""What the package announces.

Each is sent after the move is committed, from the process that made it, with `claim` (what the
worker knows of the attempt: `async_attempts.store.Claim`) where not said otherwise. Nothing is
built or sent for a signal that nobody listens to.
"""

from __future__ import annotations

from django.dispatch import Signal

enqueued = Signal()
"""With `attempt`, the row; within the caller's transaction, not after its commit."""

started = Signal()
succeeded = Signal()
retried = Signal()
"""With `outcome` (delay, error) and `exception`, None when the worker was lost."""

snoozed = Signal()
failed = Signal()
"""With `outcome` (reason, error) and `exception`, None when the worker was lost."""

expired = Signal()
released = Signal()
stale = Signal()
"""An outcome was refused since a newer claim, or a person, was faster; with `outcome`."""

rescued = Signal()
"""A dead worker's attempts were taken back; with `worker_id` and `attempt_ids`."""

worker_started = Signal()
"""With `worker`."""

worker_stopped = Signal()
"""With `worker`."""

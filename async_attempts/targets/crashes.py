"""How many workers may die while an attempt is in flight before it fails."""

from __future__ import annotations

from ..conf import defaults_of
from .policy import Policy


def crashes_allowed(policy: Policy | None, queue: str) -> int:
    """Return the number: the target's, else the queue's, else that of the settings.

    `policy`: None for a target that isn't known here.
    """
    own = policy.max_crashes if policy is not None else None
    return own or defaults_of(queue).max_crashes


def is_at_most_once(policy: Policy | None, queue: str) -> bool:
    """Return True if an attempt that was in flight when its worker died isn't repeated."""
    return crashes_allowed(policy, queue) == 1

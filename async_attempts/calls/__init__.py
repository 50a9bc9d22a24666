"""Calls and flows of calls: how code enqueues attempts in its own transaction."""

from __future__ import annotations

from .bulk import enqueue_many, taken
from .enqueueing import aenqueue, enqueue, schedule
from .flow import Call, Flow, call, parallel
from .rows import write

__all__ = [
    "Call",
    "Flow",
    "aenqueue",
    "call",
    "enqueue",
    "enqueue_many",
    "parallel",
    "schedule",
    "taken",
    "write",
]

"""Results, outcomes and progress of attempts: waiting for them, and handing them over."""

from __future__ import annotations

from ..models.ports import Progress
from .follow_ups import arguments_of_follow_up
from .outcomes import Ending, endings_in_order
from .prerequisites import handed_over
from .wait import agather, aresult, gather, result, watch

__all__ = [
    "Ending",
    "Progress",
    "agather",
    "aresult",
    "arguments_of_follow_up",
    "endings_in_order",
    "gather",
    "handed_over",
    "result",
    "watch",
]

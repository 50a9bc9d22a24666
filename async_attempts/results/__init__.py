"""What attempts came to: for those that come after them, and for those who wait for them."""

from __future__ import annotations

from ..models.progress import Progress
from .endings import Ending
from .gathering import agather, aresult, gather, result
from .prerequisites import endings_in_order, handed_over
from .watching import watch

__all__ = [
    "Ending",
    "Progress",
    "agather",
    "aresult",
    "endings_in_order",
    "gather",
    "handed_over",
    "result",
    "watch",
]

"""What attempts came to: for those that come after them, and for those who wait for them."""

from __future__ import annotations

from ..models.progress import Progress
from .endings import Ending, handed_over, prerequisites
from .gathering import agather, aresult, gather, result
from .watching import watch

__all__ = [
    "Ending",
    "Progress",
    "agather",
    "aresult",
    "gather",
    "handed_over",
    "prerequisites",
    "result",
    "watch",
]

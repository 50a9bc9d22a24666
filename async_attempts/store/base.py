"""The store on any database that Django supports well: every move of the lifecycle, by the ORM.

A dialect overrides what it can say better. Every statement names the states that it starts from
and, for a worker's moves, the claim's fence.
"""

from __future__ import annotations

from .changing import Changing
from .counting import Counting
from .declaring import Declaring
from .expiring import Expiring
from .handing import Handing
from .keyless import Keyless
from .leasing import Leasing
from .looking import Looking
from .malformed import MalformedRows
from .missing import MissingKeysCount
from .pausing import Pausing
from .progressing import Progressing
from .pruning import Pruning
from .rescuing import Rescuing
from .revisits import What
from .tallying import Tallying


class Store(
    Declaring,
    MalformedRows,
    Progressing,
    Looking,
    Leasing,
    Rescuing,
    Keyless,
    Changing,
    Expiring,
    Pruning,
    Pausing,
    Handing,
    Tallying,
    Counting,
    MissingKeysCount,
):
    """The attempts and workers of one database."""

    def revisit(self) -> int:
        """Come back to what was passed over; returns how many may have become due."""
        if not self.revisits:
            return 0
        return (
            self.revisits.visit(What.DEPENDENTS, self.note_dependents)
            + self.revisits.visit(What.EDGES, self.close)
            + self.revisits.visit(What.SLOTS, self.wake)
        )

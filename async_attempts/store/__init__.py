"""Owns every move of the lifecycle: no statement that changes a status is written elsewhere.

A `Store` for each database, of one part for each subject. All databases pass one behaviour suite.
"""

from __future__ import annotations

from ..conf import MODEL_SETTING, cached
from .claimed import TOO_LATE, Claim, Claimed, Unknown
from .claims import QueueState
from .missing_keys import Cursor, PutOff
from .outcomes import CANCELLED, ProgressReport, Result, Unrecorded
from .queues import Room
from .retention import Walk
from .schedules import Ticked
from .statistics import Tallied
from .store import Store
from .workers import Rescue, Verdict, VerdictOf

__all__ = [
    "CANCELLED",
    "TOO_LATE",
    "Claim",
    "Claimed",
    "Cursor",
    "ProgressReport",
    "PutOff",
    "QueueState",
    "Rescue",
    "Result",
    "Room",
    "Store",
    "Tallied",
    "Ticked",
    "Unknown",
    "Unrecorded",
    "Verdict",
    "VerdictOf",
    "Walk",
    "store_for",
]


@cached("DATABASES", MODEL_SETTING)
def store_for(alias: str) -> Store:
    """Return the store of the database `alias`.

    Raises django.db.utils.ConnectionDoesNotExist for an alias that isn't in DATABASES, and
    ImproperlyConfigured for a kind of database, or a driver, that the package doesn't support.
    """
    return Store(alias)

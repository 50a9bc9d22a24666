"""Columns, constraints, and the querysets that read them. Moves of the lifecycle are the store's.

Rows reach the store through `upstairs`, which the app binds when it is ready.
"""

from __future__ import annotations

from typing import cast

from django.apps import apps

from ..conf import attempt_model_name
from .attempt import AbstractAttempt, Attempt
from .clock import DatabaseNow
from .failure import Failure, sealed_details
from .querysets import AttemptManager, AttemptQuerySet
from .upstairs import Changes
from .worker import Worker

__all__ = [
    "AbstractAttempt",
    "Attempt",
    "AttemptManager",
    "AttemptQuerySet",
    "Changes",
    "DatabaseNow",
    "Failure",
    "Worker",
    "get_attempt_model",
    "sealed_details",
]


def get_attempt_model() -> type[AbstractAttempt]:
    """The attempt model in use: ours, or the one the project swapped in."""
    return cast("type[AbstractAttempt]", apps.get_model(attempt_model_name(), require_ready=False))

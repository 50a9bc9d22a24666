"""Columns, constraints, and the querysets that read them. Moves of the lifecycle are the store's.

Rows reach the store through `ports`, which the app binds when it is ready.
"""

from __future__ import annotations

from typing import cast

from django.apps import apps
from django.db import router

from ..conf import MODEL_SETTING, attempt_model_name, cached, settings
from .attempt import AbstractAttempt, Attempt
from .clock import DatabaseNow
from .dependency import Condition, Dependency, Edge
from .failure import Failure, is_unsealed, sealed_details
from .ports import Changes
from .querysets import AttemptManager, AttemptQuerySet
from .queue import QUEUE_ITSELF, Queue, Slot, key_of_limit
from .schedule import Schedule
from .tally import Tally
from .worker import Worker

__all__ = [
    "QUEUE_ITSELF",
    "AbstractAttempt",
    "Attempt",
    "AttemptManager",
    "AttemptQuerySet",
    "Changes",
    "Condition",
    "DatabaseNow",
    "Dependency",
    "Edge",
    "Failure",
    "Queue",
    "Schedule",
    "Slot",
    "Tally",
    "Worker",
    "get_attempt_model",
    "home_database",
    "is_unsealed",
    "key_of_limit",
    "sealed_details",
]


@cached(MODEL_SETTING, "INSTALLED_APPS")
def get_attempt_model() -> type[AbstractAttempt]:
    """The attempt model in use: ours, or the one the project swapped in."""
    return cast("type[AbstractAttempt]", apps.get_model(attempt_model_name(), require_ready=False))


def home_database() -> str:
    """The alias in the setting DATABASE, else where the routers write attempts."""
    return settings().DATABASE or router.db_for_write(get_attempt_model())

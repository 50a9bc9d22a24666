"""Columns, constraints, and the querysets that read them. Moves of the lifecycle are the store's.

Rows reach the store through `upstairs`, which the app binds when it is ready.
"""

from __future__ import annotations

from functools import cache
from typing import cast

from django.apps import apps
from django.core.signals import setting_changed

from ..conf import MODEL_SETTING, attempt_model_name
from .attempt import AbstractAttempt, Attempt
from .clock import DatabaseNow
from .dependency import Condition, Dependency, Edge
from .failure import Failure, is_unsealed, sealed_details
from .querysets import AttemptManager, AttemptQuerySet
from .queue import QUEUE_ITSELF, Queue, Slot, key_of_limit
from .schedule import Schedule
from .tally import Tally
from .upstairs import Changes
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
    "is_unsealed",
    "key_of_limit",
    "sealed_details",
]


def get_attempt_model() -> type[AbstractAttempt]:
    """The attempt model in use: ours, or the one the project swapped in."""
    return _attempt_model()


@cache
def _attempt_model() -> type[AbstractAttempt]:
    return cast("type[AbstractAttempt]", apps.get_model(attempt_model_name(), require_ready=False))


def _forget(*, setting: str, **_: object) -> None:
    if setting in (MODEL_SETTING, "INSTALLED_APPS"):
        _attempt_model.cache_clear()


setting_changed.connect(_forget)

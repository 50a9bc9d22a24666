"""What Django's settings say of the peers that are installed: read before Django is set up."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Any, Final

import django

from ..environment import PROCESSES

ALIAS: Final = "postgresql"
"""The one database that the peers are measured on."""

LABELS: Final = frozenset({"django_tasks_database", "django_ox", "dj_queue", "procrastinate"})
"""Of the peers' apps."""

BACKENDS: Final = {
    "django_tasks_db": "django_tasks_db.DatabaseBackend",
    "django_ox": "django_ox.backend.OxBackend",
    "dj_queue": "dj_queue.backend.DjQueueBackend",
}
"""Each package that is a backend of `django.tasks`, which came with Django 6.0."""


def apps() -> list[str]:
    """The apps of the peers that are here."""
    return [
        *_backends(),
        *(["procrastinate.contrib.django"] if find_spec("procrastinate") else []),
    ]


def tasks() -> dict[str, dict[str, Any]]:
    """The setting `TASKS`, its aliases the packages' names."""
    options: dict[str, dict[str, Any]] = {"dj_queue": _of_dj_queue()}
    return {
        package: {"BACKEND": backend, "QUEUES": [], "OPTIONS": options.get(package, {})}
        for package, backend in _backends().items()
    }


def _backends() -> dict[str, str]:
    if django.VERSION < (6, 0):
        return {}
    return {package: path for package, path in BACKENDS.items() if find_spec(package)}


def _of_dj_queue() -> dict[str, Any]:
    """Its command takes no number of processes or threads; without one, its defaults hold."""
    options: dict[str, Any] = {"database_alias": ALIAS}
    if processes := os.environ.get(PROCESSES):
        options["workers"] = [
            {"threads": 8, "processes": int(processes), "prefetch_multiplier": 10}
        ]
    return options

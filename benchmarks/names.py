"""What can be chosen on the command line; read before Django is set up."""

from __future__ import annotations

from typing import Final

WORKLOADS: Final = (
    "enqueueing",
    "notifying",
    "bulk",
    "draining",
    "latency",
    "beside",
    "idling",
    "sleeping",
    "memory",
    "sealing",
)
"""In the order in which they are measured; each is a function in the module of its name."""

EVERYWHERE: Final = frozenset({"enqueueing", "bulk", "draining", "sleeping"})
"""The workloads that are measured on each database; the rest is on PostgreSQL alone."""

PEERS: Final = {
    "django-tasks-db": "django_tasks_db",
    "django-ox": "django_ox",
    "dj-queue": "dj_queue",
    "procrastinate": "procrastinate",
    "pgqueuer": "pgqueuer",
}
"""The peers' distributions, and the module that drives each."""

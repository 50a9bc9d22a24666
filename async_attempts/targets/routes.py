"""The queue of a target's attempts: by the operators' `ROUTES`, else by its author."""

from __future__ import annotations

from fnmatch import fnmatchcase

from ..conf import DEFAULT_QUEUE, SETTING, cached, settings
from .names import TargetName
from .policy import Policy


def queue_of(name: TargetName | str, policy: Policy) -> str:
    """Return the queue of an attempt that isn't given one; `name`: of its target, also dotted."""
    if settings().ROUTES and (pattern := route_of(str(name))) is not None:
        return settings().ROUTES[pattern]
    return policy.queue or DEFAULT_QUEUE


@cached(SETTING)
def route_of(dotted_name: str) -> str | None:
    """Return the first pattern in `ROUTES` that matches the name of a target, or None."""
    routes = settings().ROUTES
    return next((pattern for pattern in routes if fnmatchcase(dotted_name, pattern)), None)

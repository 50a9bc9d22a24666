"""The prerequisites and the dependents of an attempt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.contrib.admin import AdminSite
from django.db.models import Q, QuerySet
from django.utils.safestring import SafeString

from ..models import AbstractAttempt, Dependency
from .cells import badge, call_cell
from .fieldsets import heavy_columns
from .links import link_to_page
from .rows import readable

SHOWN: Final = 50


class Neighbour(NamedTuple):
    """The other attempt of a dependency, with its condition and its verdict."""

    call: SafeString | str
    state: SafeString | str
    condition: str
    verdict: str


class Neighbours(NamedTuple):
    """The first `SHOWN` prerequisites and dependents of an attempt."""

    prerequisites: Sequence[Neighbour]
    dependents: Sequence[Neighbour]


def neighbours(site: AdminSite, attempt: AbstractAttempt, seen: QuerySet[Any]) -> Neighbours:
    """Return the prerequisites and the dependents of `attempt`.

    `seen`: the attempts that this user may see; of others only the ids are shown.
    """
    return Neighbours(
        _others(site, attempt, seen, Q(attempt_id=attempt.pk), "prerequisite_id"),
        _others(site, attempt, seen, Q(prerequisite_id=attempt.pk), "attempt_id"),
    )


def _others(
    site: AdminSite, attempt: AbstractAttempt, seen: QuerySet[Any], mine: Q, other: str
) -> list[Neighbour]:
    edges = Dependency._base_manager.using(attempt._state.db).filter(mine).order_by("id")
    shown = list(edges[:SHOWN])
    ids = [getattr(edge, other) for edge in shown]
    rows = seen.filter(pk__in=ids).defer(*heavy_columns(type(attempt)))
    found = {row.pk: row for row in readable(rows)} if ids else {}
    return [_neighbour(site, edge, getattr(edge, other), found) for edge in shown]


def _neighbour(site: AdminSite, edge: Dependency, pk: UUID, found: Any) -> Neighbour:
    labels = edge.get_condition_display(), edge.get_state_display()
    if (row := found.get(pk)) is None:
        return Neighbour(str(pk), "-", *labels)
    return Neighbour(link_to_page(site, type(row), pk, call_cell(row)), badge(row.state), *labels)

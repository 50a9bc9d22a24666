"""What an attempt waits for, or waited for, and what waits for it."""

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
from .linking import link_to_page
from .rows import readable

SHOWN: Final = 50


class Neighbour(NamedTuple):
    """The other attempt of a dependency, and what became of the dependency."""

    call: SafeString | str
    state: SafeString | str
    condition: str
    verdict: str


class Neighbours(NamedTuple):
    """Those on both sides of an attempt, the first `SHOWN` of each."""

    prerequisites: Sequence[Neighbour]
    dependents: Sequence[Neighbour]


def neighbours(
    site: AdminSite, attempt: AbstractAttempt, seen: QuerySet[Any]
) -> Neighbours:
    """What `attempt` depends on, and what depends on it.

    `seen`: the attempts that this person may see; of the others no more than the ids is told.
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

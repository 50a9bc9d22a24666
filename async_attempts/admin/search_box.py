"""The search box: an id, a subject, an idempotence token or the beginning of a target.

All are columns in clear; encrypted columns can't be searched, and aren't read.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.apps import apps
from django.db.models import Q, QuerySet
from django.utils.translation import gettext_lazy as _

from ..targets import registered

HELP = _(
    "The id of an attempt, a subject as app.model:pk, an idempotence token, or part of a target's "
    "name."
)


def search(attempts: QuerySet[Any], term: str) -> QuerySet[Any]:
    """Return the `attempts` that `term` names."""
    term = term.strip()
    for by_index in (_by_id(term), _by_subject(term)):
        # Asked first, and alone: an OR with a column that has no index would read every row.
        if by_index is not None and (found := attempts.filter(by_index)).exists():
            return found
    return attempts.filter(
        Q(idempotence_token=term) | Q(target__startswith=term) | _by_registered_name(term)
    )


def _by_id(term: str) -> Q | None:
    try:
        return Q(pk=UUID(term))
    except ValueError:
        return None


def _by_subject(term: str) -> Q | None:
    label, _colon, pk = term.partition(":")
    try:
        model = apps.get_model(label)
    except (LookupError, ValueError):
        return None
    return Q(subject_type=model._meta.label_lower, subject_id=pk)


def _by_registered_name(term: str) -> Q:
    """Return the condition for the registered targets with `term` in their names."""
    found = Q()
    for name in registered():
        if term.casefold() in name.casefold():
            target, _dot, method_name = name.rpartition(".")
            found |= Q(target=target, method_name=method_name)
    return found

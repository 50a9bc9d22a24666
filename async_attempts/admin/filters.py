"""Filters and the search box, whose choices and names come from the code and the settings.

Neither scans the rows. Encrypted columns can't be searched, and aren't read.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast
from uuid import UUID

from django.apps import apps
from django.contrib.admin import SimpleListFilter
from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from ..conf import settings
from ..lifecycle import RUNNING, FailureKind, Status
from ..models import AttemptQuerySet
from ..targets import registered
from .display import STATES, state_label

HELP = _(
    "The id of an attempt, a subject as app.model:pk, an idempotence token, or part of a target's "
    "name."
)


class ChoiceFilter(SimpleListFilter):
    """A filter that refuses unknown values, which would widen what a verb acts on."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any] | None:
        value = self.value()
        if value is None:
            return None
        if value not in {choice for choice, _label in self.lookup_choices}:
            raise IncorrectLookupParameters(f"{self.parameter_name}={value!r}")
        return self.narrow(queryset, value)

    def narrow(self, rows: QuerySet[Any], value: str) -> QuerySet[Any]:
        """Return the rows whose column of this filter's name has `value`."""
        return rows.filter(**{str(self.parameter_name): value})


class StateFilter(ChoiceFilter):
    """A filter by status; running is one more choice, and pending means not running.

    What was refused is one, too, and isn't among what has failed.
    """

    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        refused = FailureKind.REFUSED
        return [
            *((state, state_label(state)) for state in STATES),
            (str(refused), str(refused.label)),
        ]

    def narrow(self, rows: QuerySet[Any], value: str) -> QuerySet[Any]:
        attempts = cast("AttemptQuerySet[Any]", rows)
        if value == RUNNING:
            return attempts.running()
        if value == Status.PENDING:
            return attempts.pending()
        refused = Q(status=Status.FAILED, failure_kind=FailureKind.REFUSED)
        if value == FailureKind.REFUSED:
            return attempts.filter(refused)
        if value == Status.FAILED:
            # An answer isn't to be triaged.
            return attempts.filter(status=value).exclude(refused)
        return attempts.filter(status=value)


class QueueFilter(ChoiceFilter):
    """A filter by the queues that the settings declare."""

    title = _("queue")
    parameter_name = "queue"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        return [(queue, queue) for queue in settings().QUEUES]


class TargetFilter(ChoiceFilter):
    """A filter by the attemptable functions."""

    title = _("target")
    parameter_name = "target"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        return [(name, name) for name in sorted(registered())]

    def narrow(self, rows: QuerySet[Any], value: str) -> QuerySet[Any]:
        target, _dot, method_name = value.rpartition(".")
        return rows.filter(target=target, method_name=method_name)


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

"""Filters whose choices come from the code and the settings, never from a scan of the rows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

from django.contrib.admin import ModelAdmin, SimpleListFilter
from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from ..conf import settings
from ..lifecycle import RUNNING, Status
from ..models import AttemptQuerySet
from ..targets import registered
from .cells import STATES, state_label


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
    """A filter by status; running is one more choice, and pending means not running."""

    title = _("state")
    parameter_name = "state"

    def lookups(
        self, request: HttpRequest, model_admin: ModelAdmin[Any]
    ) -> Iterable[tuple[str, str]]:
        return [(state, state_label(state)) for state in STATES]

    def narrow(self, rows: QuerySet[Any], value: str) -> QuerySet[Any]:
        attempts = cast("AttemptQuerySet[Any]", rows)
        if value == RUNNING:
            return attempts.running()
        if value == Status.PENDING:
            return attempts.pending()
        return attempts.filter(status=value)


class QueueFilter(ChoiceFilter):
    """A filter by the queues that the settings declare."""

    title = _("queue")
    parameter_name = "queue"

    def lookups(
        self, request: HttpRequest, model_admin: ModelAdmin[Any]
    ) -> Iterable[tuple[str, str]]:
        return [(queue, queue) for queue in settings().QUEUES]


class TargetFilter(ChoiceFilter):
    """A filter by the attemptable functions."""

    title = _("target")
    parameter_name = "target"

    def lookups(
        self, request: HttpRequest, model_admin: ModelAdmin[Any]
    ) -> Iterable[tuple[str, str]]:
        return [(name, name) for name in sorted(registered())]

    def narrow(self, rows: QuerySet[Any], value: str) -> QuerySet[Any]:
        target, _dot, method_name = value.rpartition(".")
        return rows.filter(target=target, method_name=method_name)

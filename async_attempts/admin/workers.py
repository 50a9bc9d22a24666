"""The workers, past and present."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from ..models import DatabaseNow, Worker
from ..printable import printable
from .display import moment_cell, served_by, standing
from .filters import ChoiceFilter
from .pages import ReadOnlyAdmin

LOST = "lost"


class StandingFilter(ChoiceFilter):
    """A filter by state; a worker whose lease is over is lost, not live."""

    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, Any]]:
        live, *others = Worker.State.choices
        return [live, (LOST, _("lost")), *others]

    def narrow(self, rows: QuerySet[Any], value: str) -> QuerySet[Any]:
        if value == LOST:
            return rows.filter(state=Worker.State.LIVE, lease__lt=DatabaseNow())
        if value == Worker.State.LIVE:
            return rows.filter(state=Worker.State.LIVE, lease__gte=DatabaseNow())
        return rows.filter(state=value)


class WorkerAdmin(ReadOnlyAdmin):
    """The workers, the latest first."""

    list_display = ("host", "pid", "name", "queue_names", "standing", "lease_until", "version")
    list_display_links = ("host", "name")
    list_filter = (StandingFilter,)
    ordering = ("-id",)
    fields = ("id", *list_display, "started_at")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        workers: QuerySet[Any] = super().get_queryset(request).annotate(now=DatabaseNow())
        return workers

    @admin.display(description=_("queues"))
    def queue_names(self, worker: Worker) -> str:
        """Return the queues that it claims from, or the text that was written in their place."""
        names = worker.queues
        return printable(names) if isinstance(names, str) else ", ".join(served_by(worker))

    @admin.display(description=_("state"))
    def standing(self, worker: Any) -> str:
        """Return live, lost, or how it ended."""
        return standing(worker, worker.now)

    @admin.display(description=_("lease"))
    def lease_until(self, worker: Worker) -> SafeString:
        return moment_cell("", worker.lease)

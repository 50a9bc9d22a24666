"""Who performs the attempts, and who did."""

from __future__ import annotations

from django.contrib import admin
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from ..models import Worker
from .cells import moment_cell
from .reading import ReadOnlyAdmin


class WorkerAdmin(ReadOnlyAdmin):
    """The workers, the latest first."""

    list_display = ("host", "pid", "name", "queue_names", "state", "lease_until", "version")
    list_display_links = ("host", "name")
    list_filter = ("state",)
    ordering = ("-id",)
    fields = ("id", *list_display, "started_at")

    @admin.display(description=_("queues"))
    def queue_names(self, worker: Worker) -> str:
        """The queues that it claims from."""
        return ", ".join(worker.queues)

    @admin.display(description=_("lease"))
    def lease_until(self, worker: Worker) -> SafeString:
        """Until when it holds its lease, or since when it doesn't."""
        return moment_cell("", worker.lease)

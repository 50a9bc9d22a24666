"""The failures of one attempt, on its page, and of all attempts, in a list."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from ..models import AbstractAttempt, Failure, Worker, get_attempt_model
from .cells import call_cell, dotted_cell, moment_cell
from .fieldsets import sealed_columns
from .linking import link_to_page, link_to_worker
from .reading import ReadOnlyAdmin

SHOWN: Final = 50


def latest_failures(
    attempt: AbstractAttempt, *, with_details: bool
) -> list[tuple[Failure, Worker | UUID | None]]:
    """The latest failures of an attempt, each with its worker, or its id if the row is gone.

    `with_details`: whether message and traceback are going to be read.
    """
    # By the name that the foreign key gives it, on whatever model takes the attempt's place.
    related: Any = attempt
    failures: QuerySet[Failure] = related.failures.order_by("-pk")
    shown = list((failures if with_details else failures.defer(*sealed_columns(Failure)))[:SHOWN])
    ids = {failure.worker for failure in shown if failure.worker}
    workers = Worker.objects.using(attempt._state.db).in_bulk(ids)
    return [(f, workers.get(f.worker, f.worker) if f.worker else None) for f in shown]


class FailureAdmin(ReadOnlyAdmin):
    """All failures; message and traceback are decrypted on the page of one, and only there."""

    list_display = ("failed", "kind", "error", "call", "number")
    list_display_links = ("failed", "error")
    list_filter = ("kind",)
    ordering = ("-id",)
    fields = (
        "call",
        "number",
        "kind",
        "error_class",
        "message",
        "traceback_as_written",
        "started_at",
        "failed_at",
        "performed_by",
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        unread = [f"attempt__{column}" for column in sealed_columns(get_attempt_model())]
        failures = super().get_queryset(request).select_related("attempt")
        return failures.defer(*sealed_columns(Failure), *unread)

    @admin.display(description=_("attempt"))
    def call(self, failure: Failure) -> SafeString | str:
        """What was called."""
        attempt = failure.attempt
        return link_to_page(self.admin_site, type(attempt), attempt.pk, call_cell(attempt))

    @admin.display(description=_("error"))
    def error(self, failure: Failure) -> SafeString:
        """The class of what was raised."""
        return dotted_cell(failure.error_class)

    @admin.display(description=_("failed"))
    def failed(self, failure: Failure) -> SafeString:
        """When it failed."""
        return moment_cell("", failure.failed_at)

    @admin.display(description=_("message"))
    def message(self, failure: Failure) -> str:
        """What the error said."""
        return failure.message

    @admin.display(description=_("traceback"))
    def traceback_as_written(self, failure: Failure) -> SafeString:
        """Where it was raised."""
        return format_html('<pre class="attempt-traceback">{}</pre>', failure.traceback)

    @admin.display(description=_("worker"))
    def performed_by(self, failure: Failure) -> SafeString | str:
        """The worker whose execution failed."""
        worker = link_to_worker(self.admin_site, failure.worker, failure._state.db)
        return worker or self.get_empty_value_display()

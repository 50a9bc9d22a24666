"""The failures of one attempt, on its page, and of all attempts, in a list."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from django.contrib import admin
from django.db.models import QuerySet
from django.db.models.sql import Query
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from ..models import AbstractAttempt, Failure, Worker, get_attempt_model
from .display import call_cell, dotted_cell, link_to_page, link_to_worker, moment_cell
from .pages import ReadOnlyAdmin
from .rows import columns_apart, readable, sealed_columns

SHOWN: Final = 50


def latest_failures(
    attempt: AbstractAttempt, *, with_details: bool
) -> list[tuple[Failure, Worker | UUID | None]]:
    """Return the latest failures of an attempt, each with its worker, or its id if it is gone.

    `with_details`: also read message and traceback.
    """
    # By the name that the foreign key gives it, on whatever model takes the attempt's place.
    related: Any = attempt
    failures: QuerySet[Failure] = related.failures.order_by("-pk")
    if not with_details:
        failures = failures.defer(*sealed_columns(Failure))
    shown = readable(failures[:SHOWN])
    ids = {failure.worker for failure in shown if failure.worker}
    rows = Worker.objects.using(attempt._state.db).filter(pk__in=ids)
    workers = {worker.pk: worker for worker in readable(rows)}
    return [(f, workers.get(f.worker, f.worker) if f.worker else None) for f in shown]


def of_those_seen(failures: QuerySet[Failure], attempts: QuerySet[Any] | None) -> QuerySet[Failure]:
    """Return the failures of `attempts`; None: all of them."""
    if attempts is None or not is_narrowed(attempts):
        # No other statement then than before: to look for each row in all of them is slow.
        return failures
    seen = attempts.order_by().values("pk")
    return failures.using(attempts.db).filter(attempt__in=seen.using(attempts.db))


def is_narrowed(rows: QuerySet[Any]) -> bool:
    """Return True if the query may leave out rows of its table."""
    query: Any = rows.query
    is_plain = type(query) is Query and len(query.alias_map) <= 1 and not query.extra_tables
    return not is_plain or bool(query.where or query.is_sliced or query.combinator)


class FailureAdmin(ReadOnlyAdmin):
    """All failures; message and traceback are decrypted only on the page of one failure."""

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
        unread = [f"attempt__{column}" for column in columns_apart(get_attempt_model())]
        failures = super().get_queryset(request).select_related("attempt")
        return of_those_seen(failures.defer(*unread), self._attempts_seen(request))

    def _attempts_seen(self, request: HttpRequest) -> QuerySet[Any] | None:
        """Return the attempts that their admin shows this user; None for a site without one."""
        model = get_attempt_model()
        if not self.admin_site.is_registered(model):
            return None
        return self.admin_site.get_model_admin(model).get_queryset(request)

    @admin.display(description=_("attempt"))
    def call(self, failure: Failure) -> SafeString | str:
        attempt = failure.attempt
        return link_to_page(self.admin_site, type(attempt), attempt.pk, call_cell(attempt))

    @admin.display(description=_("error"))
    def error(self, failure: Failure) -> SafeString:
        return dotted_cell(failure.error_class)

    @admin.display(description=_("failed"))
    def failed(self, failure: Failure) -> SafeString:
        return moment_cell("", failure.failed_at)

    @admin.display(description=_("message"))
    def message(self, failure: Failure) -> str:
        return failure.message

    @admin.display(description=_("traceback"))
    def traceback_as_written(self, failure: Failure) -> SafeString:
        return format_html('<pre class="attempt-traceback">{}</pre>', failure.traceback)

    @admin.display(description=_("worker"))
    def performed_by(self, failure: Failure) -> SafeString | str:
        """Return the worker whose execution failed."""
        worker = link_to_worker(self.admin_site, failure.worker, failure._state.db)
        return worker or self.get_empty_value_display()

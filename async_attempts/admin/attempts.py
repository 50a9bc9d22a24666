"""The list of attempts and the page of one."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from ..lifecycle import FINAL, RUNNING
from ..models import AbstractAttempt, Failure
from .cells import badge, call_cell, dotted_cell, moment_cell, progress_cell
from .counts import CappedChangeList
from .dependencies import SHOWN as NEIGHBOURS_SHOWN
from .dependencies import neighbours
from .explanation import allowed_for, explain
from .failures import SHOWN, latest_failures
from .fieldsets import fieldsets_of, heavy_columns, sealed_columns
from .filters import QueueFilter, StateFilter, TargetFilter
from .links import link_to_subject, link_to_worker
from .read_only import AnyModelAdmin, ReadOnlyMixin
from .search_box import HELP, search
from .selection import FROM_PAGE
from .verbs import VerbsMixin


class AttemptChangeList(CappedChangeList):
    """A list that reads no metadata, unless it shows them."""

    def get_queryset(self, request: HttpRequest, *args: Any, **options: Any) -> QuerySet[Any]:
        unread = {*heavy_columns(self.model)} - {*map(str, self.list_display)}
        return super().get_queryset(request, *args, **options).defer(*unread)


class AttemptAdminMixin(VerbsMixin, ReadOnlyMixin):
    """The attempts' admin as a mixin; put it before `ModelAdmin`, or another package's.

    Arguments and results are neither read nor shown; messages and tracebacks of failures only to
    users who may view failures.
    """

    list_display: tuple[Any, ...] = (
        "state_badge",
        "call",
        "last_error",
        "due",
        "queue",
        "executions",
    )
    list_display_links = ("call",)
    list_filter = (StateFilter, QueueFilter, TargetFilter)
    ordering = ("-id",)
    search_fields = ("id",)
    search_help_text = HELP
    change_list_template = "admin/async_attempts/attempt/change_list.html"
    change_form_template = "admin/async_attempts/attempt/change_form.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).defer(*sealed_columns(self.model))

    def get_changelist(self, request: HttpRequest, **options: Any) -> type[CappedChangeList]:
        return AttemptChangeList

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        return (search(queryset, search_term) if search_term.strip() else queryset), False

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.fieldsets or fieldsets_of(self.model)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        # Django's own note tells the count, which is capped, while the action is not.
        context = {"selection_note_all": gettext("All that match are selected")}
        return super().changelist_view(request, context | (extra_context or {}))

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        attempt: AbstractAttempt = context["original"]
        may_read = self._may_read_failures(request)
        context |= {
            "verbs": self.verbs_for(request, attempt),
            "from_page": FROM_PAGE,
            "failures": latest_failures(attempt, with_details=may_read),
            "failures_shown": SHOWN,
            "may_read_failures": may_read,
            "neighbours": neighbours(self.admin_site, attempt, self.get_queryset(request)),
            "neighbours_shown": NEIGHBOURS_SHOWN,
        }
        return super().render_change_form(request, context, *args, **kwargs)

    def _may_read_failures(self, request: HttpRequest) -> bool:
        return request.user.has_perm(f"{Failure._meta.app_label}.view_failure")

    @admin.display(description=_("state"))
    def state_badge(self, attempt: AbstractAttempt) -> SafeString:
        """Return its state."""
        return badge(attempt.state)

    @admin.display(description=_("target"))
    def call(self, attempt: AbstractAttempt) -> SafeString:
        """Return its target and method."""
        return call_cell(attempt)

    @admin.display(description=_("executions"))
    def executions(self, attempt: AbstractAttempt) -> SafeString | str:
        """Return the executions begun, and allowed if this process knows the target."""
        if (allowed := allowed_for(attempt)) is not None:
            return f"{attempt.num_attempts}/{allowed}"
        unknown = gettext("unknown here: this process has not imported its target")
        return format_html('{}/<span title="{}">?</span>', attempt.num_attempts, unknown)

    @admin.display(description=_("due"))
    def due(self, attempt: AbstractAttempt) -> SafeString:
        """Return the moment at which it ended, was claimed, or is due."""
        if attempt.status in FINAL and attempt.completed_at:
            return moment_cell(gettext("ended"), attempt.completed_at)
        if attempt.state == RUNNING and attempt.started_at:
            return moment_cell(gettext("claimed"), attempt.started_at)
        return moment_cell(gettext("due"), attempt.scheduled_at)

    @admin.display(description=_("last error"))
    def last_error(self, attempt: AbstractAttempt) -> SafeString | None:
        """Return the class of the last error."""
        return dotted_cell(attempt.error_class) if attempt.error_class else None

    @admin.display(description=_("progress"))
    def how_far(self, attempt: AbstractAttempt) -> str:
        """Return its progress in percent, with its note."""
        return progress_cell(attempt) or self.get_empty_value_display()

    @admin.display(description=_("why this state"))
    def explanation(self, attempt: AbstractAttempt) -> str:
        """Return the explanation of its state."""
        return explain(attempt)

    @admin.display(description=_("worker"))
    def performed_by(self, attempt: AbstractAttempt) -> SafeString | str:
        """Return the worker that performs it, or performed it last."""
        worker = link_to_worker(self.admin_site, attempt.claimed_by, attempt._state.db)
        return worker or self.get_empty_value_display()

    @admin.display(description=_("subject"))
    def about(self, attempt: AbstractAttempt) -> SafeString | str:
        """Return its subject."""
        return link_to_subject(self.admin_site, attempt) or self.get_empty_value_display()


class AttemptAdmin(AttemptAdminMixin, AnyModelAdmin):
    """The attempts' admin by default; `unregister` it to register your own."""

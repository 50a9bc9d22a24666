"""The list of attempts, and the page of one with its columns and its neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.contrib import admin
from django.contrib.admin import AdminSite
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from ..lifecycle import FINAL, RUNNING
from ..models import AbstractAttempt, Dependency, Failure
from ..models.follow_ups import noted_targets
from .display import (
    badge,
    call_cell,
    dotted_cell,
    link_to_page,
    link_to_subject,
    link_to_worker,
    moment_cell,
    progress_cell,
)
from .explanation import allowed_for, explain
from .failures import SHOWN, latest_failures
from .filters import HELP, QueueFilter, StateFilter, TargetFilter, search
from .pages import FROM_PAGE, AnyModelAdmin, CappedChangeList, ReadOnlyMixin
from .rows import heavy_columns, readable, sealed_columns
from .verbs import VerbsMixin

_PROMISE: Final = """
id target target_pk method_name about idempotence_token schedule followed_by metadata
"""

_STATE: Final = """
reason error_class failure_kind how_far cancel_requested cancel_reason interrupt
num_attempts num_crashes num_snoozes claim_seq blockers has_dependents
"""

_GROUPS: Final = (
    (None, "explanation state_badge executions performed_by"),
    (_("Promise"), _PROMISE),
    (_("State"), _STATE),
    (_("Times"), "created_at scheduled_at started_at completed_at expires_at"),
    (_("Options"), "queue priority max_attempts timeout keep_result limit_key concurrency"),
)


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
            "neighbours_shown": SHOWN,
        }
        return super().render_change_form(request, context, *args, **kwargs)

    def _may_read_failures(self, request: HttpRequest) -> bool:
        return request.user.has_perm(f"{Failure._meta.app_label}.view_failure")

    @admin.display(description=_("state"))
    def state_badge(self, attempt: AbstractAttempt) -> SafeString:
        return badge(attempt.state)

    @admin.display(description=_("target"))
    def call(self, attempt: AbstractAttempt) -> SafeString:
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
        return dotted_cell(attempt.error_class) if attempt.error_class else None

    @admin.display(description=_("progress"))
    def how_far(self, attempt: AbstractAttempt) -> str:
        return progress_cell(attempt) or self.get_empty_value_display()

    @admin.display(description=_("why this state"))
    def explanation(self, attempt: AbstractAttempt) -> str:
        return explain(attempt)

    @admin.display(description=_("worker"))
    def performed_by(self, attempt: AbstractAttempt) -> SafeString | str:
        """Return the worker that performs it, or performed it last."""
        worker = link_to_worker(self.admin_site, attempt.claimed_by, attempt._state.db)
        return worker or self.get_empty_value_display()

    @admin.display(description=_("what follows a bad end"))
    def followed_by(self, attempt: AbstractAttempt) -> str:
        followers = [f"{status}: {name}" for status, name in noted_targets(attempt.on_ended)]
        return ", ".join(followers) or self.get_empty_value_display()

    @admin.display(description=_("subject"))
    def about(self, attempt: AbstractAttempt) -> SafeString | str:
        return link_to_subject(self.admin_site, attempt) or self.get_empty_value_display()


class AttemptAdmin(AttemptAdminMixin, AnyModelAdmin):
    """The attempts' admin by default; `unregister` it to register your own."""


def fieldsets_of(model: type[AbstractAttempt]) -> list[tuple[Any, dict[str, Any]]]:
    """Return all columns in groups, a project's own columns in the last one."""
    groups: list[tuple[Any, dict[str, Any]]] = [
        (title, {"fields": names.split()}) for title, names in _GROUPS
    ]
    known = {field.name for field in AbstractAttempt._meta.get_fields()} | {*sealed_columns(model)}
    added = [field.name for field in model._meta.concrete_fields if field.name not in known]
    return [*groups, (_("Further"), {"fields": added})] if added else groups


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

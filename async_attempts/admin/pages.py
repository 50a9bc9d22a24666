"""The base of all pages: broken rows, sealed columns, capped counts, and verbs on selected rows."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, ClassVar, Final
from uuid import UUID

from django.contrib.admin import ModelAdmin, ShowFacets
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import BadRequest, PermissionDenied
from django.core.paginator import Paginator
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.functional import SimpleLazyObject

from .rows import (
    UNREADABLE,
    asks_sealed_column,
    readable,
    readable_or_none,
    sealed_columns,
    without_unreadable_moments,
)

if TYPE_CHECKING:
    AnyModelAdmin = ModelAdmin[Any]
    _Mixed = ModelAdmin[Any]
    _Paginator = Paginator[Any]
else:
    # Django's classes take no type parameters when they are run.
    AnyModelAdmin = ModelAdmin
    _Paginator = Paginator
    # Mixins, so that a project can put them before another package's ModelAdmin.
    _Mixed = object

COUNT_CAP: Final = 10_000

FROM_PAGE: Final = "from_page"
"""The POST key of a button on the page of one row, to which the verb then returns."""


class CappedPaginator(_Paginator):
    """A paginator that counts and offers no more than `COUNT_CAP` rows."""

    object_list: QuerySet[Any]

    @cached_property
    def count(self) -> int:
        return min(self._count_beyond_cap, COUNT_CAP)

    @property
    def is_capped(self) -> bool:
        """True if there are more rows than were counted."""
        return self._count_beyond_cap > COUNT_CAP

    @cached_property
    def _count_beyond_cap(self) -> int:
        return self.object_list.order_by().values("pk")[: COUNT_CAP + 1].count()


class ReadableChangeList(ChangeList):
    """A list that shows what it can of each row."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        if not self.list_editable:
            # Read by the template, not by a verb, which needs no more than the query.
            self.result_list: Any = SimpleLazyObject(partial(readable, self.result_list))


class CappedChangeList(ReadableChangeList):
    """A list that tells its template whether its count is capped."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.count_cap = COUNT_CAP
        self.is_capped = getattr(self.paginator, "is_capped", False)
        if self.is_capped:
            # Django's search form prints the count as if it were one unless the two are equal.
            self.full_result_count = self.result_count


class ReadableMixin(_Mixed):
    """Pages that show what they can of a row, and neither read nor compare sealed columns."""

    class Media:
        css: ClassVar = {"all": ("async_attempts/admin.css",)}

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).defer(*sealed_columns(self.model))

    def get_changelist(self, request: HttpRequest, **options: Any) -> type[ChangeList]:
        return ReadableChangeList

    def get_object(self, request: HttpRequest, object_id: str, from_field: Any = None) -> Any:
        try:
            found = super().get_object(request, object_id, from_field)
        except UNREADABLE:
            field = from_field or self.opts.pk.name
            found = readable_or_none(self.get_queryset(request).filter(**{field: object_id}))
        return None if found is None else without_unreadable_moments(found)

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        # Comparing ciphertexts would confirm a guess.
        if asks_sealed_column(self.model, lookup):
            return False
        return super().lookup_allowed(lookup, value, request)


class ReadOnlyMixin(ReadableMixin):
    """Pages without adding, changing or deleting, for all users, and with a capped count."""

    paginator = CappedPaginator
    show_full_result_count = False
    show_facets = ShowFacets.NEVER
    sortable_by = ()

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_changelist(self, request: HttpRequest, **options: Any) -> type[CappedChangeList]:
        return CappedChangeList


class ReadOnlyAdmin(ReadOnlyMixin, AnyModelAdmin):
    """A model admin for reading only."""


class SelectingMixin(_Mixed):
    """An admin whose rows are selected by ids, and whose verbs return to their page."""

    def response_action(
        self, request: HttpRequest, queryset: Any, *args: Any, **options: Any
    ) -> HttpResponse | None:
        for selected in request.POST.getlist(ACTION_CHECKBOX_NAME):
            id_or_refuse(selected)
        return super().response_action(request, queryset, *args, **options)

    def back(self, request: HttpRequest) -> HttpResponseRedirect:
        """Redirect to the list, or to the page whose button was pressed."""
        if FROM_PAGE not in request.POST:
            return HttpResponseRedirect(request.get_full_path())
        selected = id_or_refuse(request.POST.get(ACTION_CHECKBOX_NAME, ""))
        name = f"admin:{self.opts.app_label}_{self.opts.model_name}_change"
        page = reverse(name, args=[selected], current_app=self.admin_site.name)
        return HttpResponseRedirect(page)

    def _may(self, request: HttpRequest, permission: str) -> bool:
        # By the public method, which a project may override.
        return bool(getattr(self, f"has_{permission}_permission")(request))

    def _require(self, request: HttpRequest, permission: str) -> None:
        if request.method != "POST" or not self._may(request, permission):
            raise PermissionDenied


def id_or_refuse(text: str) -> UUID:
    """Return the id in `text`. Raises BadRequest."""
    try:
        return UUID(text)
    except ValueError:
        raise BadRequest("Not the id of a row.") from None


def log_changes(request: HttpRequest, rows: Sequence[Model], entry: str) -> None:
    """Write `entry` into the admin's log for each of `rows`."""
    user_id: Any = request.user.pk
    LogEntry.objects.log_actions(user_id, rows, CHANGE, entry)

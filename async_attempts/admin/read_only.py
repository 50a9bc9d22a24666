"""Read-only pages: rows are written by enqueueing, by workers and by people's verbs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib.admin import ModelAdmin, ShowFacets
from django.http import HttpRequest

from .counts import CappedChangeList, CappedPaginator
from .fieldsets import asks_sealed_column
from .rows import ReadableMixin

if TYPE_CHECKING:
    AnyModelAdmin = ModelAdmin[Any]
    _Mixed = ModelAdmin[Any]
else:
    # Django's class takes no type parameters when it is run.
    AnyModelAdmin = ModelAdmin
    # A mixin, so that a project can put it before another package's ModelAdmin.
    _Mixed = object


class SealedMixin(_Mixed):
    """Pages without lookups by sealed columns: comparing ciphertexts would confirm a guess."""

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        if asks_sealed_column(self.model, lookup):
            return False
        return super().lookup_allowed(lookup, value, request)


class ReadOnlyMixin(SealedMixin, ReadableMixin):
    """Pages without adding, changing or deleting, for all users, and with a capped count."""

    paginator = CappedPaginator
    show_full_result_count = False
    show_facets = ShowFacets.NEVER
    sortable_by = ()

    class Media:
        css: ClassVar = {"all": ("async_attempts/admin.css",)}

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

"""The rows that were selected on a page, and the way back there from a verb."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin

    _Admin = ModelAdmin[Any]
else:
    _Admin = object

FROM_PAGE: Final = "from_page"
"""The POST key of a button on the page of one row, to which the verb then returns."""


class SelectingMixin(_Admin):
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


def id_or_refuse(text: str) -> UUID:
    """Return the id in `text`. Raises BadRequest."""
    try:
        return UUID(text)
    except ValueError:
        raise BadRequest("Not the id of a row.") from None

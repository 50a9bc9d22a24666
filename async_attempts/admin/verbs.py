"""The verbs expire, fail and retry, as actions of the list and as buttons of a page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from ..lifecycle import sources_of
from ..models import AbstractAttempt, AttemptQuerySet
from .changes import change, report
from .confirmation import ALWAYS_ASKED, FORMS, WORDING, Answers, ReasonForm, preview, preview_of
from .rows import readable
from .selection import FROM_PAGE, SelectingMixin, id_or_refuse

NEWEST: Final = "newest"
"""The POST key of the newest attempt that a confirmation counted; later ones are left alone."""


class VerbsMixin(SelectingMixin):
    """The verbs, each for users who have its permission."""

    actions: Sequence[str] = ("expire", "fail", "retry")

    def has_expire_permission(self, request: HttpRequest) -> bool:
        """Return True if the user may expire attempts."""
        return self._has_verb_permission(request, "expire")

    def has_fail_permission(self, request: HttpRequest) -> bool:
        """Return True if the user may fail attempts."""
        return self._has_verb_permission(request, "fail")

    def has_retry_permission(self, request: HttpRequest) -> bool:
        """Return True if the user may retry attempts."""
        return self._has_verb_permission(request, "retry")

    @admin.action(permissions=["expire"], description=_("Expire: should no longer run"))
    def expire(self, request: HttpRequest, queryset: AttemptQuerySet[Any]) -> HttpResponse:
        """Expire live attempts; confirm first, unless single rows were ticked."""
        return self._ask_or_change(request, queryset, "expire")

    @admin.action(permissions=["fail"], description=_("Fail: failed for good"))
    def fail(self, request: HttpRequest, queryset: AttemptQuerySet[Any]) -> HttpResponse:
        """Fail live attempts; confirm first, unless single rows were ticked."""
        return self._ask_or_change(request, queryset, "fail")

    @admin.action(permissions=["retry"], description=_("Retry: run again"))
    def retry(self, request: HttpRequest, queryset: AttemptQuerySet[Any]) -> HttpResponse:
        """Retry failed attempts, and expired ones if asked to; always confirm first."""
        return self._ask_or_change(request, queryset, "retry")

    def verbs_for(self, request: HttpRequest, attempt: AbstractAttempt) -> dict[str, Promise]:
        """Return the buttons that this user has for `attempt` in its present state."""
        return {
            verb: wording.button
            for verb, wording in WORDING.items()
            if attempt.state in sources_of(verb) and self._may(request, verb)
        }

    def _has_verb_permission(self, request: HttpRequest, verb: str) -> bool:
        return request.user.has_perm(f"{self.opts.app_label}.{verb}_attempt")

    def _may(self, request: HttpRequest, verb: str) -> bool:
        # By the public method, which a project may override.
        return bool(getattr(self, f"has_{verb}_permission")(request))

    def _require(self, request: HttpRequest, verb: str) -> None:
        if request.method != "POST" or not self._may(request, verb):
            raise PermissionDenied

    def _ask_or_change(
        self, request: HttpRequest, attempts: AttemptQuerySet[Any], verb: str
    ) -> HttpResponse:
        newest = request.POST.get(NEWEST)
        form_class = FORMS[verb]
        if newest is None and not _asks_first(request, verb):
            # What was ticked is what was meant, and retry undoes it.
            form = form_class({"reason": f"by {request.user} in the admin"} | request.POST.dict())
        elif newest is None:
            return self._ask(request, attempts, verb, form_class())
        else:
            attempts = attempts.filter(pk__lte=id_or_refuse(newest))
            form = form_class(request.POST)
        if not form.is_valid():
            return self._ask(request, attempts, verb, form)
        return self._change(request, attempts, verb, form.answers)

    def _ask(
        self, request: HttpRequest, attempts: AttemptQuerySet[Any], verb: str, form: ReasonForm
    ) -> HttpResponse:
        self._require(request, verb)
        is_across = _is_across(request)
        newest_first = attempts.order_by("-pk")
        # What was ticked is no more than a page of the list.
        rows = readable(newest_first[:1] if is_across else newest_first)
        if not rows:
            self.message_user(request, _("None of them is there any more."), messages.WARNING)
            return self.back(request)
        newest = rows[0].pk
        found = (
            preview(attempts.filter(pk__lte=newest), verb) if is_across else preview_of(rows, verb)
        )
        if found.if_asked and not found.changing:
            form.fields["with_expired"].widget.attrs["required"] = True
        selected = request.POST.getlist(ACTION_CHECKBOX_NAME)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
            "title": WORDING[verb].question,
            "wording": WORDING[verb],
            "preview": found,
            "form": form,
            "attempts": () if is_across else rows,
            "back": self.back(request).url,
            "carried": {
                "action": [verb],
                "select_across": ["1" if is_across else "0"],
                # With all that match, Django asks for one id, to see that something is selected.
                ACTION_CHECKBOX_NAME: selected[:1] if is_across else selected,
                NEWEST: [newest],
                FROM_PAGE: request.POST.getlist(FROM_PAGE)[:1],
            },
        }
        return TemplateResponse(
            request, "admin/async_attempts/attempt/verb_confirmation.html", context
        )

    def _change(
        self, request: HttpRequest, attempts: AttemptQuerySet[Any], verb: str, answers: Answers
    ) -> HttpResponse:
        self._require(request, verb)
        changes = change(attempts, verb, answers, user_id=request.user.pk)
        level = messages.SUCCESS if changes.changed else messages.WARNING
        self.message_user(request, report(verb, changes), level)
        return self.back(request)


def _asks_first(request: HttpRequest, verb: str) -> bool:
    """Return True for all rows that match, for a page's button, and for some verbs."""
    return _is_across(request) or FROM_PAGE in request.POST or verb in ALWAYS_ASKED


def _is_across(request: HttpRequest) -> bool:
    return bool(forms.BooleanField(required=False).clean(request.POST.get("select_across")))

"""People's verbs as actions of the list and as buttons of the page; both come to `_change`."""

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
from .asking import WORDING, ReasonForm, preview
from .changing import change, report
from .selecting import FROM_PAGE, SelectingMixin, id_or_refuse

NEWEST: Final = "newest"
"""In the confirmation: the newest attempt that was shown; what came later stays out."""


class VerbsMixin(SelectingMixin):
    """Expire, fail and retry, each for those who have its permission."""

    actions: Sequence[str] = ("expire", "fail", "retry")

    def has_expire_permission(self, request: HttpRequest) -> bool:
        """Whether the user may expire attempts."""
        return self._has_verb_permission(request, "expire")

    def has_fail_permission(self, request: HttpRequest) -> bool:
        """Whether the user may fail attempts."""
        return self._has_verb_permission(request, "fail")

    def has_retry_permission(self, request: HttpRequest) -> bool:
        """Whether the user may retry attempts."""
        return self._has_verb_permission(request, "retry")

    @admin.action(permissions=["expire"], description=_("Expire: should no longer run"))
    def expire(self, request: HttpRequest, queryset: AttemptQuerySet[Any]) -> HttpResponse:
        """Expire those that haven't ended; asks first where more is meant than was ticked."""
        return self._ask_or_change(request, queryset, "expire")

    @admin.action(permissions=["fail"], description=_("Fail: failed for good"))
    def fail(self, request: HttpRequest, queryset: AttemptQuerySet[Any]) -> HttpResponse:
        """Fail those that haven't ended; asks first where more is meant than was ticked."""
        return self._ask_or_change(request, queryset, "fail")

    @admin.action(permissions=["retry"], description=_("Retry: run again, now"))
    def retry(self, request: HttpRequest, queryset: AttemptQuerySet[Any]) -> HttpResponse:
        """Make the failed and the expired due again."""
        return self._change(request, queryset, "retry")

    def verbs_for(self, request: HttpRequest, attempt: AbstractAttempt) -> dict[str, Promise]:
        """The verbs that this user may apply to `attempt` in its present state, as buttons."""
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
        if newest is None and not _asks_first(request):
            # What was ticked is what was meant, and retry undoes it.
            form = ReasonForm({"reason": f"by {request.user} in the admin"} | request.POST.dict())
            reason = form.cleaned_data["reason"] if form.is_valid() else None
            return self._change(request, attempts, verb, reason)
        if newest is None:
            return self._ask(request, attempts, verb, ReasonForm())
        attempts = attempts.filter(pk__lte=id_or_refuse(newest))
        form = ReasonForm(request.POST)
        if not form.is_valid():
            return self._ask(request, attempts, verb, form)
        return self._change(request, attempts, verb, form.cleaned_data["reason"])

    def _ask(
        self, request: HttpRequest, attempts: AttemptQuerySet[Any], verb: str, form: ReasonForm
    ) -> HttpResponse:
        self._require(request, verb)
        newest = attempts.order_by("-pk").values_list("pk", flat=True).first()
        if newest is None:
            self.message_user(request, _("None of them is there any more."), messages.WARNING)
            return self.back(request)
        is_across = _is_across(request)
        selected = request.POST.getlist(ACTION_CHECKBOX_NAME)
        context = {
            **self.admin_site.each_context(request),
            **preview(attempts, verb),
            "opts": self.opts,
            "media": self.media,
            "title": WORDING[verb].question,
            "wording": WORDING[verb],
            "form": form,
            "attempts": () if is_across else attempts,
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
        self,
        request: HttpRequest,
        attempts: AttemptQuerySet[Any],
        verb: str,
        reason: str | None = None,
    ) -> HttpResponse:
        self._require(request, verb)
        changes = change(attempts, verb, reason, user_id=request.user.pk)
        level = messages.SUCCESS if changes.changed else messages.WARNING
        self.message_user(request, report(verb, changes), level)
        return self.back(request)


def _asks_first(request: HttpRequest) -> bool:
    """For all that match, and for a button that nobody ticked anything for."""
    return _is_across(request) or FROM_PAGE in request.POST


def _is_across(request: HttpRequest) -> bool:
    return bool(forms.BooleanField(required=False).clean(request.POST.get("select_across")))

"""The verbs expire, fail and retry: actions of the list, buttons of a page, and their log."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, Final

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.functional import Promise
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from ..lifecycle import Status, sources_of
from ..models import AbstractAttempt, AttemptQuerySet, Changes
from .confirmation import (
    ALWAYS_ASKED,
    FORMS,
    ONLY_IF_ASKED,
    WORDING,
    Answers,
    ReasonForm,
    preview,
    preview_of,
)
from .display import state_label
from .pages import FROM_PAGE, SelectingMixin, id_or_refuse
from .rows import readable

LOGGED_ONE_BY_ONE: Final = 1_000
"""The most attempts that get log entries of their own; more get one entry together."""

_PAST: Final = {"expire": _("Expired."), "fail": _("Failed."), "retry": _("Retried.")}

NEWEST: Final = "newest"
"""The POST key of the newest attempt that a confirmation counted; later ones are left alone."""


class VerbsMixin(SelectingMixin):
    """The verbs, each for users who have its permission."""

    actions: Sequence[str] = ("expire", "fail", "retry")

    def has_expire_permission(self, request: HttpRequest) -> bool:
        return self._has_verb_permission(request, "expire")

    def has_fail_permission(self, request: HttpRequest) -> bool:
        return self._has_verb_permission(request, "fail")

    def has_retry_permission(self, request: HttpRequest) -> bool:
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

    def _ask_or_change(
        self, request: HttpRequest, attempts: AttemptQuerySet[Any], verb: str
    ) -> HttpResponse:
        newest = request.POST.get(NEWEST)
        form_class = FORMS[verb]
        if newest is None and not _asks_first(request, verb):
            # The ticked rows are the ones that are meant, and retry undoes it.
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
        # The ticked rows are at most one page of the list.
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


def change(attempts: AttemptQuerySet[Any], verb: str, answers: Answers, *, user_id: Any) -> Changes:
    """Expire, fail or retry `attempts` and log it; a few in one transaction with their log."""
    unasked = ONLY_IF_ASKED.get(verb, frozenset()) - answers.also
    wanted = attempts.exclude(status__in=unasked) if unasked else attempts
    sources = [status for status in Status.values if status in sources_of(verb)]
    changeable = wanted.filter(status__in=sources).order_by("pk")
    are_few = changeable.values("pk")[: LOGGED_ONE_BY_ONE + 1].count() <= LOGGED_ONE_BY_ONE
    database = attempts.writes_to
    with transaction.atomic(using=database) if are_few else nullcontext():
        # Locked, so that exactly these are changed; the store skips what others hold, too.
        locking = changeable.using(database).select_for_update(skip_locked=True)
        logged = list(locking.only("target", "method_name")) if are_few else []
        changes = _changed_by(wanted, verb, answers)
        entry = _entry(verb, answers)
        if are_few:
            LogEntry.objects.log_actions(user_id, logged, CHANGE, entry)
        else:
            _log_together(attempts, changes.changed, entry, user_id)
    spared = {state: attempts.filter(status=state).count() for state in sorted(unasked)}
    return Changes(changes.changed, changes.left | {s: n for s, n in spared.items() if n})


def _changed_by(attempts: AttemptQuerySet[Any], verb: str, answers: Answers) -> Changes:
    if verb == "retry":
        return attempts.retry(spread=answers.spread)
    return attempts.expire(answers.reason) if verb == "expire" else attempts.fail(answers.reason)


def _entry(verb: str, answers: Answers) -> str:
    """Return the log's entry: "Retried. Spread over 10 minutes. The API is back"."""
    said = [str(_PAST[verb])]
    if answers.spread:
        minutes = f"{answers.spread.total_seconds() / 60:g}"
        said.append(gettext("Spread over %(n)s minutes.") % {"n": minutes})
    return " ".join([*said, answers.reason])


def _log_together(attempts: AttemptQuerySet[Any], n: int, entry: str, user_id: Any) -> None:
    LogEntry.objects.create(
        user_id=user_id,
        content_type=ContentType.objects.get_for_model(attempts.model, for_concrete_model=False),
        object_repr=f"{n} {attempts.model._meta.verbose_name_plural}",
        action_flag=CHANGE,
        change_message=entry,
    )


def report(verb: str, changes: Changes) -> str:
    """Return "3 expired, 2 skipped: 1 succeeded, 1 running atomically."."""
    changed = _number_changed(verb, changes.changed) % {"n": changes.changed}
    if not changes.left:
        return f"{changed}."
    n_left = sum(changes.left.values())
    skipped = ngettext("%(n)d skipped", "%(n)d skipped", n_left) % {"n": n_left}
    why = ", ".join(f"{n} {state_label(state)}" for state, n in changes.left.items())
    return gettext("%(changed)s, %(skipped)s: %(why)s.") % {
        "changed": changed,
        "skipped": skipped,
        "why": why,
    }


def _number_changed(verb: str, n: int) -> str:
    if verb == "expire":
        return ngettext("%(n)d expired", "%(n)d expired", n)
    if verb == "fail":
        return ngettext("%(n)d failed", "%(n)d failed", n)
    return ngettext("%(n)d retried", "%(n)d retried", n)

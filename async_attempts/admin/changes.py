"""Changes by a verb: the attempts, the entry in the admin's log, and the report."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, Final

from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import transaction
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from ..lifecycle import Status, sources_of
from ..models import AttemptQuerySet, Changes
from .cells import state_label
from .confirmation import ONLY_IF_ASKED, Answers

LOGGED_ONE_BY_ONE: Final = 1_000
"""The most attempts that get log entries of their own; more get one entry together."""

PAST: Final = {
    "expire": gettext_lazy("Expired."),
    "fail": gettext_lazy("Failed."),
    "retry": gettext_lazy("Retried."),
}


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
    said = [str(PAST[verb])]
    if answers.spread:
        minutes = f"{answers.spread.total_seconds() / 60:g}"
        said.append(_("Spread over %(n)s minutes.") % {"n": minutes})
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
    return _("%(changed)s, %(skipped)s: %(why)s.") % {
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

"""The values in lists and on pages: states, moments, calls, and links to other pages."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.apps import apps
from django.contrib.admin import AdminSite
from django.contrib.admin.utils import quote
from django.contrib.humanize.templatetags.humanize import naturaltime
from django.db.models import Model
from django.urls import NoReverseMatch, reverse
from django.utils.formats import date_format
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.utils.timezone import localtime
from django.utils.translation import gettext as _

from ..lifecycle import RUNNING, Status
from ..models import AbstractAttempt, DatabaseNow, Worker
from ..printable import printable
from ..store.changes import RUNNING_ATOMICALLY
from .rows import readable_or_none

STATES: Final = "scheduled pending running waiting succeeded failed expired".split()
"""All states, in the order in which people read them."""

LONGEST_KEY: Final = 24
"""Characters of a primary key in a list."""


def state_label(state: str) -> str:
    """Return the translated word for a state, or for the reason why a verb skipped an attempt."""
    if state == RUNNING:
        return _("running")
    if state == RUNNING_ATOMICALLY:
        return _("running atomically")
    return str(Status(state).label)


def badge(state: str) -> SafeString:
    """Return a state as a word with a coloured frame."""
    return format_html(
        '<span class="attempt-state attempt-state-{}">{}</span>', state, state_label(state)
    )


def standing(worker: Any, now: datetime) -> str:
    """Return a worker's state in words; a live worker without a lease is lost.

    `now`: by the database's clock.
    """
    if worker.state != Worker.State.LIVE or holds_lease(worker, now):
        return str(worker.get_state_display())
    if worker.lease is None:
        return _("lost")
    since = date_format(localtime(worker.lease), "SHORT_DATETIME_FORMAT")
    return _("lost since %(when)s") % {"when": since}


def holds_lease(worker: Any, now: datetime) -> bool:
    """Return True if it is live and its lease can be read."""
    return worker.lease is not None and worker.is_live(now)


def spoken(moment: datetime | None) -> str:
    """Return a moment for a sentence: absolute, in the current time zone, and relative."""
    if moment is None:
        return ""
    return f"{date_format(localtime(moment), 'DATETIME_FORMAT')} ({naturaltime(moment)})"


def moment_cell(verb: str, moment: datetime | None) -> SafeString:
    """Return `verb` with its moment, relative and absolute.

    None: a moment that can't be read.
    """
    if moment is None:
        return format_html('<span class="attempt-moment">{} ?</span>', verb)
    return format_html(
        '<time datetime="{}" class="attempt-moment">{} {}<br><small>{}</small></time>',
        moment.isoformat(),
        verb,
        naturaltime(moment),
        date_format(localtime(moment), "SHORT_DATETIME_FORMAT"),
    )


def call_cell(attempt: AbstractAttempt) -> SafeString:
    """Return the target's own name and its method; the whole dotted name is the title."""
    owner = printable(attempt.target.rpartition(".")[2])
    instance = ""
    if attempt.target_pk is not None:
        instance = f"({printable(attempt.target_pk, LONGEST_KEY)})"
    # It may break there, so that a long name leaves room for the other columns.
    words = ((word,) for word in printable(attempt.method_name).split("_"))
    method_name = format_html_join(mark_safe("_<wbr>"), "{}", words)
    return format_html(
        '<span title="{}">{}{}.<wbr>{}</span>', attempt, owner, instance, method_name
    )


def progress_cell(attempt: AbstractAttempt) -> str:
    """Return the progress that its target reported last; empty if there is none."""
    if attempt.progress is None:
        return ""
    return f"{attempt.progress} % {attempt.progress_note}".rstrip()


def dotted_cell(name: str) -> SafeString:
    """Return the last part of a dotted name; the whole name is the title."""
    name = printable(name)
    return format_html('<span title="{}">{}</span>', name, name.rpartition(".")[2])


def served_by(worker: Worker) -> Sequence[str]:
    """Return the queues in a worker's row; none if its column was altered."""
    return [str(queue) for queue in worker.queues] if isinstance(worker.queues, list) else []


def link_to_subject(site: AdminSite, attempt: AbstractAttempt) -> SafeString | str | None:
    """Return a link to the subject. Its row isn't read, and may be gone."""
    if attempt.subject_type is None or attempt.subject_id is None:
        return None
    text = f"{attempt.subject_type}:{attempt.subject_id}"
    try:
        model = apps.get_model(attempt.subject_type)
    except (LookupError, ValueError):
        return text
    return link_to_page(site, model, attempt.subject_id, text)


def link_to_worker(
    site: AdminSite, worker_id: UUID | None, database: str | None
) -> SafeString | str | None:
    """Return a link to the worker, with its state unless it is live; its id if its row is gone."""
    if worker_id is None:
        return None
    rows = Worker.objects.using(database).annotate(now=DatabaseNow())
    worker = readable_or_none(rows.filter(pk=worker_id))
    if worker is None:
        return str(worker_id)
    link = link_to_page(site, Worker, worker_id, str(worker))
    if holds_lease(worker, worker.now):
        return link
    return format_html("{}, {}", link, standing(worker, worker.now))


def link_to_page(
    site: AdminSite, model: type[Model], pk: str | UUID, text: str
) -> SafeString | str:
    """Return `text`, linked to the page of the row `pk` if the site has that model."""
    if not site.is_registered(model):
        return text
    name = f"admin:{model._meta.app_label}_{model._meta.model_name}_change"
    try:
        page = reverse(name, args=[quote(pk)], current_app=site.name)
    except NoReverseMatch:
        # No row has an empty primary key.
        return text
    return format_html('<a href="{}">{}</a>', page, text)

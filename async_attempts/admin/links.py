"""Links from an attempt to other pages of the same admin site, if it has such pages."""

from __future__ import annotations

from uuid import UUID

from django.apps import apps
from django.contrib.admin import AdminSite
from django.contrib.admin.utils import quote
from django.db.models import Model
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from ..models import AbstractAttempt, DatabaseNow, Worker
from .cells import holds_lease, standing
from .rows import readable_or_none


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

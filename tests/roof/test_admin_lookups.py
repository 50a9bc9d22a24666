"""No lookup in an address of the admin compares what is sealed."""

from __future__ import annotations

import pytest
from django.contrib import admin
from django.test import RequestFactory

from async_attempts.models import Attempt, Failure, Schedule
from tests.roof.admin_pages import LIST, OneDatabase, attempt_in, logged_in, operator

ADMIN = "/admin/async_attempts/"
SEALED = [
    (LIST, "args"),
    (LIST, "args__gt"),
    (LIST, "args__exact"),
    (LIST, "args__isnull"),
    (LIST, "sealed_result__startswith"),
    (LIST, "unique_key"),
    (LIST, "unique_key__in"),
    (LIST, "failures__details"),
    (LIST, "failures__details__gt"),
    (LIST, "failures__attempt__args__gt"),
    (f"{ADMIN}failure/", "details__lt"),
    (f"{ADMIN}failure/", "attempt__args"),
    (f"{ADMIN}failure/", "attempt__unique_key__gte"),
    (f"{ADMIN}schedule/", "args__gt"),
    (f"{ADMIN}schedule/", "args"),
]


@pytest.fixture(autouse=True)
def _on_database(database, settings):
    settings.DATABASE_ROUTERS = [OneDatabase(database)]


@pytest.mark.parametrize(("path", "lookup"), SEALED)
@pytest.mark.parametrize("value", ["x", "1", "\\x00"])
def test_what_is_sealed_is_not_compared(path, lookup, value):
    attempt_in("pending")
    client = logged_in("view_attempt", "view_failure", "view_schedule")
    assert client.get(path, {lookup: value}).status_code == 400


@pytest.mark.parametrize("lookup", ["attempt__args", "attempt__unique_key", "details"])
def test_a_filter_of_the_projects_own_opens_no_way_to_what_is_sealed(monkeypatch, lookup):
    """Django lets through whatever path a filter has."""
    model_admin = admin.site.get_model_admin(Failure)
    monkeypatch.setattr(model_admin, "list_filter", (lookup,))
    request = RequestFactory().get("/")
    assert not model_admin.lookup_allowed(lookup, "x", request)
    assert not model_admin.lookup_allowed(f"{lookup}__gt", "x", request)


@pytest.mark.parametrize(
    ("model", "lookup"),
    [
        (Attempt, "queue"),
        (Attempt, "pk"),
        (Attempt, "target__startswith"),
        (Attempt, "metadata__args"),
        (Attempt, "created_at__gte"),
        (Failure, "kind"),
        (Failure, "attempt"),
        (Failure, "attempt__id__exact"),
        (Schedule, "source"),
    ],
)
def test_what_is_clear_is_found_as_before(model, lookup):
    request = RequestFactory().get("/")
    assert admin.site.get_model_admin(model).lookup_allowed(lookup, "x", request)


def test_the_list_is_found_by_a_clear_column():
    attempt_in("pending", reason="because")
    rows = operator().get(LIST, {"reason": "because"}).context["cl"].result_list
    assert len(rows) == 1

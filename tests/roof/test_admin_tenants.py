"""An admin that shows each person some of the attempts hides all that hangs on the others."""

from __future__ import annotations

from types import ModuleType
from uuid import uuid4

import pytest
from django.contrib import admin
from django.db import connections
from django.test.utils import CaptureQueriesContext
from django.urls import path
from django.utils import timezone

from async_attempts import call
from async_attempts.admin import AttemptAdminMixin
from async_attempts.models import Attempt, Failure, sealed_details
from tests.roof.admin_pages import OneDatabase, attempt_in, logged_in, operator, page_of
from tests.shop import clients

FAILURES = "/admin/async_attempts/failure/"
OURS, THEIRS = "shop.tenant:1", "shop.tenant:2"


class TenantAttemptAdmin(AttemptAdminMixin, admin.ModelAdmin):  # type: ignore[type-arg]  # Django has it without
    """Shows what is of the first tenant, and superusers everything."""

    def get_queryset(self, request):
        attempts = super().get_queryset(request)
        return attempts if request.user.is_superuser else attempts.filter(subject_id="1")


@pytest.fixture
def site(database, settings, monkeypatch):
    """The project has registered an admin of its own."""
    settings.DATABASE_ROUTERS = [OneDatabase(database)]
    ours = TenantAttemptAdmin(Attempt, admin.site)
    monkeypatch.setitem(admin.site._registry, Attempt, ours)
    # The addresses of a site lead to the admins that it had when they were made.
    urls = ModuleType("urls_of_tenants")
    monkeypatch.setattr(urls, "urlpatterns", [path("admin/", admin.site.urls)], raising=False)
    settings.ROOT_URLCONF = urls
    return database


def failed_of(tenant, message):
    attempt = attempt_in("failed", subject_type="shop.tenant", subject_id=tenant)
    return Failure.objects.create(
        attempt=attempt,
        number=1,
        kind="error",
        error_class=f"builtins.{message}",
        details=sealed_details(message, "", attempt.context("error", 1)),
        failed_at=timezone.now(),
        worker=uuid4(),
    )


@pytest.fixture
def failures(site):
    """One of each of two tenants."""
    return failed_of("1", "OurError"), failed_of("2", "TheirError")


def page(failure, view="change"):
    return f"{FAILURES}{failure.pk}/{view}/"


def test_the_list_of_failures_has_those_of_the_attempts_that_are_shown(failures):
    text = logged_in("view_failure", "view_attempt").get(FAILURES)
    assert "OurError" in text.content.decode()
    assert "TheirError" not in text.content.decode()
    assert text.context["cl"].result_count == 1


@pytest.mark.parametrize("parameters", [{"kind": "error"}, {"all": ""}, {"p": "1"}])
def test_no_filter_widens_it(failures, parameters):
    client = logged_in("view_failure", "view_attempt")
    assert "TheirError" not in client.get(FAILURES, parameters).content.decode()


@pytest.mark.parametrize("view", ["change", "history"])
def test_the_pages_of_the_others_are_not_there(failures, view):
    ours, theirs = failures
    client = logged_in("view_failure", "view_attempt")
    assert client.get(page(ours, view)).status_code == 200
    # As for a row that doesn't exist: back to the index, with a message.
    response = client.get(page(theirs, view))
    assert response.status_code == 302
    assert "TheirError" not in response.content.decode()


def test_somebody_who_is_shown_all_attempts_is_shown_all_failures(failures):
    text = operator().get(FAILURES).content.decode()
    assert "OurError" in text
    assert "TheirError" in text


def test_where_all_attempts_are_shown_the_list_of_failures_costs_no_more(database, settings):
    settings.DATABASE_ROUTERS = [OneDatabase(database)]
    failed_of("1", "OurError")
    client = operator()
    with CaptureQueriesContext(connections[database]) as asked:
        client.get(FAILURES)
    on_failures = [q["sql"] for q in asked if "async_attempts_failure" in q["sql"]]
    assert on_failures
    assert not any(sql.count("SELECT") > 2 or " IN (SELECT" in sql for sql in on_failures)


def test_a_neighbour_that_is_not_shown_is_told_by_its_id_alone(site):
    theirs = attempt_in("pending", subject_id="2", target_pk="their-secret-key")
    ours = call(clients.send_welcome, 7).using(depends_on=[theirs]).enqueue()
    Attempt._base_manager.filter(pk=ours.pk).update(subject_id="1")
    after = call(clients.send_welcome, 7).using(depends_on=[ours]).enqueue()
    Attempt._base_manager.filter(pk=after.pk).update(subject_id="2", target_pk="their-secret-key")
    text = logged_in("view_attempt").get(page_of(ours)).content.decode()
    assert "Depends on" in text
    assert "On it depend" in text
    for other in (theirs, after):
        assert str(other.pk) in text
        assert page_of(other) not in text
    assert "their-secret-key" not in text
    assert "their-secret-key" in operator().get(page_of(ours)).content.decode()

"""The page of one attempt, of its failures and of its workers; none of them shows arguments."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

from django.contrib import admin
from django.contrib.admin.utils import flatten_fieldsets
from django.core.management import call_command
from django.db import connection
from django.db.models import BinaryField
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from async_attempts import Attempt, call, enqueue
from async_attempts.admin import AttemptAdminMixin
from async_attempts.models import Failure, Worker, sealed_details
from tests.roof.admin_pages import LIST, attempt_in, logged_in, operator, page_of, select
from tests.shop import clients, follow_ups
from tests.shop.models import Order
from tests.worker.helpers.attempts import put

CANARY = "canary-7f3a"
SCRIPT = "<script>alert(1)</script>"
FAILURES = "/admin/async_attempts/failure/"
WORKERS = "/admin/async_attempts/worker/"
SHOWN_AS = {
    "status": "state_badge",
    "on_ended": "followed_by",
    "claimed_by": "performed_by",
    "subject_type": "about",
    "subject_id": "about",
    "progress": "how_far",
    "progress_note": "how_far",
}


def text_of(response):
    assert response.status_code == 200
    return response.content.decode()


def failed_execution(attempt, number=1, message="it broke", **columns):
    return Failure.objects.create(
        attempt=attempt,
        number=number,
        kind="error",
        error_class="builtins.OSError",
        details=sealed_details(message, "Traceback: in fulfill", attempt.context("error", number)),
        failed_at=timezone.now(),
        **columns,
    )


def test_all_columns_are_shown_but_what_is_sealed(db):
    attempt = attempt_in("pending")
    model_admin = admin.site.get_model_admin(Attempt)
    shown = flatten_fieldsets(model_admin.get_fieldsets(operator().get(LIST).wsgi_request))
    columns = {f.name for f in Attempt._meta.concrete_fields if not isinstance(f, BinaryField)}
    assert {SHOWN_AS.get(column, column) for column in columns} <= {*shown}
    assert not {"args", "sealed_result", "unique_key"} & {*shown}
    text_of(operator().get(page_of(attempt)))


def test_the_page_names_what_follows_a_bad_end(db):
    client = operator()
    followed = enqueue(follow_ups.deliver, 1)
    text = text_of(client.get(page_of(followed)))
    assert "failed: tests.shop.follow_ups.mark_failed" in text
    assert "expired: tests.shop.follow_ups.mark_expired" in text
    put(followed, on_ended="{")
    assert "mark_failed" not in text_of(client.get(page_of(followed)))


def test_the_page_tells_how_far_it_is(db):
    client = operator()
    for percent, note, told in ((40, "of the pages", "40 % of the pages"), (7, "", "7 %")):
        attempt = attempt_in("running", progress=percent, progress_note=note)
        assert f">{told}<" in text_of(client.get(page_of(attempt)))
    assert "None %" not in text_of(client.get(page_of(attempt_in("running"))))


def test_the_page_cannot_be_saved_or_deleted(db):
    attempt = attempt_in("pending")
    client = operator()
    text = text_of(client.get(page_of(attempt)))
    assert 'name="_save"' not in text
    assert client.post(page_of(attempt), {"queue": "emails"}).status_code == 403
    assert client.post(page_of(attempt).replace("change", "delete")).status_code == 403
    assert client.get(f"{LIST}add/").status_code == 403


def test_arguments_results_and_their_columns_are_on_no_page(db):
    attempt = (
        call(clients.OrderClient.fulfill, customer_token=CANARY, order_number=1)
        .using(keep_result=True)
        .enqueue()
    )
    call_command("run_attempts", drain=True, verbosity=0)
    failure = failed_execution(attempt)
    client = operator()
    pages = (
        LIST,
        page_of(attempt),
        page_of(attempt).replace("/change/", "/history/"),
        FAILURES,
        f"{FAILURES}{failure.pk}/change/",
    )
    with CaptureQueriesContext(connection) as asked:
        assert not any(CANARY in text_of(client.get(page)) for page in pages)
        assert CANARY not in text_of(select(client, "expire", attempt, from_page="1"))
    assert not any('"args"' in q["sql"] or '"result"' in q["sql"] for q in asked)


def test_failures_are_listed_with_message_and_traceback_for_those_who_may_view_failures(db):
    attempt = attempt_in("failed")
    worker = Worker.objects.create(host="web-1", pid=7, lease=timezone.now())
    failed_execution(attempt, worker=worker.pk)
    failed_execution(attempt, 2, worker=(gone := uuid4()))
    text = text_of(logged_in("view_attempt", "view_failure").get(page_of(attempt)))
    for shown in ("builtins.OSError", "it broke", "Traceback: in fulfill", "web-1:7", str(gone)):
        assert shown in text


def test_others_see_of_a_failure_neither_message_nor_traceback(db):
    attempt = attempt_in("failed")
    failed_execution(attempt)
    client = logged_in("view_attempt")
    text = text_of(client.get(page_of(attempt)))
    assert "builtins.OSError" in text
    assert "it broke" not in text
    assert "Traceback" not in text.replace("Messages and tracebacks", "")
    assert client.get(FAILURES).status_code == 403


def test_many_failures_cost_no_more_questions_than_one(db):
    attempt = attempt_in("failed")
    client = operator()
    client.get(page_of(attempt))
    questions = []
    for numbers in (range(1, 2), range(2, 12)):
        for number in numbers:
            failed_execution(attempt, number, worker=uuid4())
        with CaptureQueriesContext(connection) as asked:
            client.get(page_of(attempt))
        questions.append(len(asked))
    assert questions[0] == questions[1]


def test_a_failure_that_cannot_be_opened_is_shown_without_its_message(db):
    attempt = attempt_in("failed")
    failed_execution(attempt)
    Failure.objects.update(details=b"tampered")
    assert "builtins.OSError" in text_of(operator().get(page_of(attempt)))


def test_what_others_wrote_is_escaped(db):
    attempt = attempt_in(
        "failed",
        error_class=SCRIPT,
        reason=SCRIPT,
        idempotence_token=SCRIPT,
        metadata={SCRIPT: SCRIPT},
        subject_type=SCRIPT,
        subject_id=SCRIPT,
        progress=5,
        progress_note=SCRIPT,
        target=SCRIPT,
        method_name=SCRIPT,
        target_pk=SCRIPT,
    )
    failure = failed_execution(attempt, message=SCRIPT)
    Failure.objects.update(error_class=SCRIPT)
    Worker.objects.create(host=SCRIPT, name=SCRIPT, pid=1, queues=[SCRIPT], lease=timezone.now())
    client = operator()
    paths = (page_of(attempt), FAILURES, f"{FAILURES}{failure.pk}/change/", WORKERS)
    pages = [
        *(text_of(client.get(path)) for path in paths),
        text_of(select(client, "fail", attempt, from_page="1")),
    ]
    assert not any(SCRIPT in text for text in pages)
    assert all("&lt;script&gt;" in text for text in pages)


def test_the_subject_and_the_worker_are_links_where_there_are_pages(db):
    lease = timezone.now() + timedelta(minutes=1)
    worker = Worker.objects.create(host="web-1", pid=7, lease=lease)
    order = Order.objects.create(number=1)
    attempt = call(clients.send_welcome, 1).using(subject=order).enqueue()
    Attempt.objects.update(claimed_by=worker.pk, started_at=timezone.now())
    text = text_of(operator().get(page_of(attempt)))
    assert f'<a href="{WORKERS}{worker.pk}/change/">web-1:7</a></div>' in text
    assert f"shop.order:{order.pk}" in text


def test_the_pages_of_failures_and_workers_are_for_reading(db):
    failure = failed_execution(attempt_in("failed"))
    worker = Worker.objects.create(host="web-1", pid=7, queues=["emails"], lease=timezone.now())
    client = operator()
    assert "it broke" not in text_of(client.get(FAILURES))
    assert "it broke" in text_of(client.get(f"{FAILURES}{failure.pk}/change/"))
    assert "emails" in text_of(client.get(WORKERS))
    assert client.post(f"{WORKERS}{worker.pk}/change/", {"state": "dead"}).status_code == 403
    assert client.post(f"{FAILURES}{failure.pk}/delete/").status_code == 403


def test_a_project_registers_an_admin_of_its_own():
    class OurAttemptAdmin(AttemptAdminMixin, admin.ModelAdmin):  # type: ignore[type-arg]  # Django has it without
        list_display = (*AttemptAdminMixin.list_display, "priority")
        actions = ("retry",)

    site = admin.AdminSite()
    site.register(Attempt, OurAttemptAdmin)
    assert site.get_model_admin(Attempt).check() == []

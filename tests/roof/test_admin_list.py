"""The list of attempts: what it shows, finds and counts, and how little it asks the database."""

from __future__ import annotations

from uuid import uuid4

import pytest
from django.contrib import admin
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext

from async_attempts import Attempt, call
from async_attempts.admin import pages
from async_attempts.models import DatabaseNow, Failure, Worker
from tests.roof.admin_pages import LIST, attempt_in, operator
from tests.shop import clients
from tests.shop.models import Order

SCRIPT = "<script>alert(1)</script>"


@pytest.fixture
def attempt_admin():
    return admin.site.get_model_admin(Attempt)


def listed(**parameters):
    return set(operator().get(LIST, parameters).context["cl"].result_list)


def text_of(response):
    return response.content.decode()


def test_a_row_tells_state_target_queue_executions_due_and_last_error(db):
    call(clients.OrderClient.fulfill, customer_token="t", order_number=1).enqueue()
    Attempt.objects.update(num_attempts=2, error_class="requests.exceptions.ConnectionError")
    text = text_of(operator().get(LIST))
    for shown in (
        ">pending</span>",
        'title="tests.shop.clients.OrderClient.fulfill">OrderClient.<wbr>fulfill<',
        ">fulfilment</td>",
        ">2/10</td>",
        "due now<br>",
        'title="requests.exceptions.ConnectionError">ConnectionError<',
    ):
        assert shown in text


def test_executions_are_counted_against_the_row_before_the_code_before_the_settings(db, settings):
    settings.ASYNC_ATTEMPTS = settings.ASYNC_ATTEMPTS | {"DEFAULT_MAX_ATTEMPTS": 4}
    call(clients.send_welcome, 1).using(max_attempts=3).enqueue()
    call(clients.send_welcome, 1).enqueue()
    call(clients.OrderClient.fulfill, customer_token="t", order_number=1).enqueue()
    text = text_of(operator().get(LIST))
    assert all(f">0/{allowed}</td>" in text for allowed in (3, 4, 10))


def test_a_target_that_this_code_does_not_have_is_listed_all_the_same(db):
    attempt_in("failed", target="tests.shop.gone.Client", method_name="send")
    assert "Client.<wbr>send" in text_of(operator().get(LIST))


def test_the_newest_come_first(db):
    made = [attempt_in("pending") for _ in range(3)]
    assert list(operator().get(LIST).context["cl"].result_list) == made[::-1]


def test_the_list_asks_the_same_few_questions_for_one_row_and_for_fifty(db):
    client = operator()
    questions = []
    for rows in (1, 49):
        for n in range(rows):
            attempt_in(("pending", "failed", "succeeded", "running")[n % 4])
        with CaptureQueriesContext(
            connection,
        ) as asked:
            client.get(LIST)
        questions.append([query["sql"] for query in asked])
    assert len(questions[0]) == len(questions[1])
    about_attempts = [sql for sql in questions[1] if Attempt._meta.db_table in sql]
    assert len(about_attempts) == 2
    assert not any('"args"' in sql or '"result"' in sql for sql in about_attempts)


@pytest.mark.parametrize("state", ["pending", "running", "scheduled", "failed", "succeeded"])
def test_the_state_filter_tells_running_from_pending(db, state):
    rows = {s: attempt_in(s) for s in ("pending", "running", "scheduled", "failed", "succeeded")}
    assert listed(state=state) == {rows[state]}


def test_what_was_refused_is_not_among_what_has_failed(db):
    answer, failed = (call(clients.send_welcome, n).enqueue() for n in range(2))
    ended = {"status": "failed", "completed_at": DatabaseNow()}
    Attempt.objects.filter(pk=answer.pk).update(**ended, failure_kind="refused")
    Attempt.objects.filter(pk=failed.pk).update(**ended)
    assert listed(state="failed") == {failed}
    assert listed(state="refused") == {answer}
    assert listed() == {answer, failed}


def test_the_queue_filter_offers_the_declared_queues(db):
    here, _elsewhere = attempt_in("pending", queue="emails"), attempt_in("pending")
    assert listed(queue="emails") == {here}
    choices = operator().get(LIST).context["cl"].filter_specs[1].lookup_choices
    assert [queue for queue, _label in choices] == ["default", "emails", "fulfilment"]


def test_the_target_filter_offers_the_registered_functions(db):
    _welcome, later = attempt_in("pending"), call(clients.send_later, 1).enqueue()
    assert listed(target="tests.shop.clients.send_later") == {later}


@pytest.mark.parametrize("name", ["state", "queue", "target"])
@pytest.mark.parametrize("value", ["nonsense", "a\0b", ""])
def test_an_unknown_filter_value_is_refused(db, name, value):
    assert operator().get(LIST, {name: value})["Location"] == f"{LIST}?e=1"


@pytest.fixture
def searched(db):
    order = Order.objects.create(number=1)
    token = call(clients.send_welcome, 1).using(idempotence_token="welcome-1").enqueue()
    uuid = call(clients.send_welcome, 1).using(idempotence_token=str(uuid4())).enqueue()
    subject = call(clients.send_later, 1).using(subject=order).enqueue()
    attempt_in("pending", target="tests.shop.gone", method_name="vanish")
    return {"token": token, "uuid": uuid, "subject": subject, "order": order}


def test_an_id_finds_its_attempt(searched):
    assert listed(q=f" {searched['token'].pk} ") == {searched["token"]}


def test_a_token_finds_its_attempt_only_whole(searched):
    assert listed(q="welcome-1") == {searched["token"]}
    assert listed(q="welcome-") == set()


def test_a_token_that_looks_like_an_id_is_found(searched):
    assert listed(q=searched["uuid"].idempotence_token) == {searched["uuid"]}


def test_a_subject_finds_its_attempts(searched):
    assert listed(q=f"shop.Order:{searched['order'].pk}") == {searched["subject"]}
    assert listed(q="shop.order:0") == set()


def test_the_beginning_of_a_target_finds_also_what_the_code_has_lost(searched):
    assert {attempt.method_name for attempt in listed(q="tests.shop.gone")} == {"vanish"}


def test_part_of_a_registered_name_finds_its_attempts(searched):
    assert listed(q="send_LATER") == {searched["subject"]}


@pytest.mark.parametrize("term", ["canary", "%", "_", "a.b:c", ":", ".", "'; --"])
def test_what_names_nothing_finds_nothing(searched, term):
    call(clients.OrderClient.fulfill, customer_token="canary", order_number=1).enqueue()
    Attempt.objects.exclude(target="tests.shop.gone").update(target="x", method_name="x")
    assert listed(q=term) == set()


def test_counting_stops_at_the_cap_and_says_so(db, attempt_admin, monkeypatch):
    monkeypatch.setattr(pages, "COUNT_CAP", 4)
    monkeypatch.setattr(attempt_admin, "list_per_page", 2)
    for _ in range(6):
        attempt_in("pending")
    response = operator().get(LIST)
    assert response.context["cl"].paginator.num_pages == 2
    text = text_of(response)
    assert "There are more: counting stops at 4." in " ".join(text.split())
    assert "Select all that match" in text
    assert "All that match are selected" in text
    assert "Select all 4" not in text
    assert "4 results" not in text


def test_a_short_list_is_not_said_to_be_capped(db, monkeypatch):
    monkeypatch.setattr(pages, "COUNT_CAP", 4)
    for _ in range(4):
        attempt_in("pending")
    assert "counting stops" not in text_of(operator().get(LIST))


def test_what_others_wrote_is_escaped(db):
    attempt_in("failed", error_class=SCRIPT, target=SCRIPT, method_name=SCRIPT, target_pk=SCRIPT)
    text = text_of(operator().get(LIST))
    assert SCRIPT not in text
    assert "&lt;script&gt;" in text


@pytest.mark.parametrize("model", [Attempt, Failure, Worker])
def test_nothing_can_be_added_changed_or_deleted(db, rf, model):
    client = operator()
    request = client.get(LIST).wsgi_request
    model_admin = admin.site.get_model_admin(model)
    assert not model_admin.has_add_permission(request)
    assert not model_admin.has_change_permission(request)
    assert not model_admin.has_delete_permission(request)
    assert "delete_selected" not in model_admin.get_actions(request)


def test_djangos_own_checks_find_nothing_wrong():
    call_command("check", "--tag", "admin", fail_level="DEBUG")

"""What checks and the admin say in processes that only enqueue, and have no private key."""

from __future__ import annotations

import base64
import traceback
from typing import Any

import pytest
from django.core.checks import Tags, run_checks
from django.core.management import call_command

from async_attempts import Attempt, call
from async_attempts.encryption import cipher, new_recipient
from async_attempts.exceptions import InvalidSetting
from async_attempts.models import Failure, Schedule
from tests import recipients
from tests.roof.admin_pages import logged_in, operator, page_of, said, select
from tests.shop import flows

FORM = {
    "name": "weekly",
    "cron": "0 2 * * mon",
    "timezone": "Europe/Berlin",
    "target": "tests.shop.reports.report",
    "method_args": '{"note": "first"}',
    "catch_up": "latest",
    "overlap": "skip",
    "queue": "",
    "priority": "",
}
SCHEDULES = "/admin/async_attempts/schedule/"


@pytest.fixture
def having(settings: Any) -> Any:
    """Changes ASYNC_ATTEMPTS for the rest of the test."""
    configured = settings.ASYNC_ATTEMPTS

    def change(given: dict[str, Any], **more: Any) -> None:
        settings.ASYNC_ATTEMPTS = configured | given | more

    change(recipients.WEB)
    return change


def told(*tags: str) -> dict[str, str]:
    databases = ["default"] if Tags.database in tags else None
    return {str(m.id): str(m) for m in run_checks(tags=[*tags], databases=databases)}


@pytest.mark.parametrize("given", [recipients.WEB, recipients.WORKER], ids=["web", "worker"])
def test_a_process_with_the_keys_that_it_needs_hears_nothing(having: Any, given: Any) -> None:
    having(given)
    assert told("async_attempts") == {}


@pytest.mark.parametrize(
    ("given", "part"),
    [
        ({"RECIPIENTS": []}, "['RECIPIENTS'] is empty"),
        ({"RECIPIENTS": ["c2hvcnQ="]}, "['RECIPIENTS'][0] has 5 bytes"),
        ({"PRIVATE_KEYS": [new_recipient()[0]]}, "none belongs to the first"),
        ({"KEYS": []}, "['KEYS'] is empty"),
    ],
)
def test_keys_that_cannot_be_used_are_an_error(having: Any, given: Any, part: str) -> None:
    having(recipients.WEB, **given)
    assert part in told("async_attempts")["async_attempts.E002"]


def test_in_development_nothing_is_derived_for_recipients(having: Any, settings: Any) -> None:
    settings.DEBUG = True
    having(recipients.WORKER, KEYS=[])
    assert told("async_attempts").keys() == {"async_attempts.E002"}


@pytest.mark.parametrize("given", [recipients.WEB, recipients.WORKER], ids=["web", "worker"])
def test_keys_that_the_cipher_ignores_are_a_warning(having: Any, given: Any) -> None:
    having(given, CIPHER=None)
    ignored = told("async_attempts")["async_attempts.W009"]
    assert "RECIPIENTS" in ignored
    assert ("PRIVATE_KEYS" in ignored) == ("PRIVATE_KEYS" in given)


def test_a_web_process_misses_no_key_of_its_recipients(db: None, having: Any) -> None:
    call(flows.fetch, 1).enqueue()
    assert told(Tags.database) == {}
    having(recipients.WEB, RECIPIENTS=[new_recipient()[1]])
    assert "async_attempts.W006" in told(Tags.database)


def test_a_worker_misses_the_private_key_of_another_recipient(db: None, having: Any) -> None:
    private, public = new_recipient()
    call(flows.fetch, 1).enqueue()
    having(recipients.WEB, RECIPIENTS=[public, recipients.PUBLIC], PRIVATE_KEYS=[private])
    assert "async_attempts.W006" in told(Tags.database)
    having(recipients.WORKER)
    assert told(Tags.database) == {}


def test_the_admin_shows_what_it_cannot_read(db: None, having: Any) -> None:
    attempt = call(flows.refuse).enqueue()
    having(recipients.WORKER)
    call_command("run_attempts", drain=True, verbosity=0)
    having(recipients.WEB)
    client = operator()
    assert client.get(page_of(attempt)).status_code == 200
    reader = logged_in("view_attempt", "view_failure")
    page = reader.get(f"/admin/async_attempts/failure/{Failure.objects.get().pk}/change/")
    assert page.status_code == 200
    assert "this process has no private key for it" in page.content.decode()
    assert "the stove is cold" not in page.content.decode()


def test_a_schedule_is_made_and_given_new_arguments_and_not_read(db: None, having: Any) -> None:
    client = operator()
    assert client.post(f"{SCHEDULES}add/", FORM).status_code == 302
    row = Schedule._base_manager.get()
    refused = client.post(f"{SCHEDULES}{row.pk}/change/", FORM | {"method_args": ""})
    assert "no private key for it" in refused.content.decode()
    given = FORM | {"method_args": '{"note": "second"}', "cron": "@daily"}
    assert client.post(f"{SCHEDULES}{row.pk}/change/", given).status_code == 302
    response = select(client, "run_now", row, path=SCHEDULES)
    assert any("no private key for it" in text for text in said(client, response))
    assert not Attempt.objects.exists()
    having(recipients.WORKER)
    row.refresh_from_db()
    assert dict(row.arguments.kwargs) == {"note": "second"}


def test_private_keys_come_from_a_file(db: None, having: Any, tmp_path: Any) -> None:
    path = tmp_path / "private"
    path.touch(mode=0o600)
    path.write_text(f"# of the workers\n{recipients.PRIVATE}\n")
    attempt = call(flows.fetch, 1).enqueue()
    having(recipients.WEB, PRIVATE_KEYS_FILE=str(path))
    assert told("async_attempts") == {}
    assert Attempt.objects.get(pk=attempt.pk).method_args == [1]
    path.chmod(0o644)
    assert "PRIVATE_KEYS_FILE" in told("async_attempts")["async_attempts.W010"]
    path.write_text("\nshort\n")
    having(recipients.WEB, PRIVATE_KEYS_FILE=str(path), POLL_INTERVAL=1)
    wrong = told("async_attempts")["async_attempts.E002"]
    assert "['PRIVATE_KEYS_FILE'], line 2 of " in wrong
    assert "short" not in wrong
    having(recipients.WORKER, PRIVATE_KEYS_FILE=str(path))
    assert "are both given" in told("async_attempts")["async_attempts.E001"]


def test_no_error_report_shows_a_private_key(having: Any) -> None:
    private, _ = new_recipient()
    having(recipients.WEB, PRIVATE_KEYS=[recipients.PRIVATE, private, private])
    with pytest.raises(InvalidSetting, match=r"\['PRIVATE_KEYS'\]\[2\] repeats") as caught:
        cipher()
    frames = [frame for frame, _ in traceback.walk_tb(caught.value.__traceback__)][1:]
    assert frames
    for frame in frames:
        shown = repr(frame.f_locals)
        assert private not in shown, frame.f_code.co_qualname
        assert repr(base64.b64decode(private)) not in shown, frame.f_code.co_qualname

"""`attempts rotate-keys` from symmetric keys to recipients, and from one recipient to the next."""

from __future__ import annotations

from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.test import override_settings

from async_attempts import Arguments, Attempt, call
from async_attempts.encryption import RecipientCipher, cipher, new_recipient
from async_attempts.exceptions import UnknownKey
from async_attempts.models import Failure, Schedule
from async_attempts.store import store_for
from tests import recipients
from tests.shop import flows

CONFIGURED: Any = settings.ASYNC_ATTEMPTS
BEFORE = CONFIGURED["KEYS"][0]
SHARED = "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA="


def having(given: dict[str, Any], **more: Any) -> override_settings:
    return override_settings(ASYNC_ATTEMPTS=CONFIGURED | given | more)


def rotate(database: str, capsys: Any) -> str:
    call_command("attempts", "rotate-keys", database=database, batch_size=2)
    return str(capsys.readouterr().out)


def sealed(told: str) -> int:
    """How many values were sealed anew, by all the rows of the table."""
    rows = [line.split() for line in told.splitlines()]
    return sum(int(cells[2]) for cells in rows if len(cells) == 4 and cells[2].isdigit())


def everything_in(database: str) -> dict[str, Any]:
    """What opens with the settings in force."""
    rows = Attempt.objects.using(database).order_by("id")
    failure = Failure.objects.using(database).get()
    return {
        "args": [row.method_args for row in rows],
        "results": [row.stored_result for row in rows],
        "message": failure.message,
        "schedule": store_for(database).database.schedules.get().arguments,
    }


@pytest.fixture
def stocked(database: str) -> str:
    """A database with one sealed value of each purpose and several attempts."""
    call(flows.fetch, 1).using(database=database, keep_result=True).enqueue()
    call(flows.refuse, 2).using(database=database).enqueue()
    call_command("run_attempts", drain=True, database=database, verbosity=0)
    for number in range(3):
        call(flows.fetch, number).using(database=database).enqueue()
    row = Schedule(name="weekly", cron="@weekly", timezone="UTC", target="tests.shop.flows.fetch")
    row._state.db = database
    row.seal(Arguments(7))
    store_for(database).schedules.put(row)
    return database


def test_what_enqueuers_could_read_is_sealed_for_the_recipient(stocked: str, capsys: Any) -> None:
    before = everything_in(stocked)
    assert before["message"] == "the stove is cold"
    assert before["schedule"] == Arguments(7)
    with having(recipients.WORKER, KEYS=[SHARED, BEFORE]):
        assert sealed(rotate(stocked, capsys)) == 8
        assert sealed(rotate(stocked, capsys)) == 0
    with having(recipients.WORKER, KEYS=[SHARED]):
        assert everything_in(stocked) == before
    for given in ({"KEYS": [BEFORE]}, recipients.WEB | {"KEYS": [SHARED, BEFORE]}):
        with having(given):
            for row in Attempt.objects.using(stocked):
                with pytest.raises(UnknownKey):
                    cipher().decrypt(row.args, row.context("args"))


def test_from_one_recipient_to_the_next(stocked: str, capsys: Any) -> None:
    before = everything_in(stocked)
    with having(recipients.WORKER):
        rotate(stocked, capsys)
    private, public = new_recipient()
    both = {"RECIPIENTS": [public], "PRIVATE_KEYS": [private, recipients.PRIVATE]}
    with having(recipients.WORKER, **both):
        assert sealed(rotate(stocked, capsys)) == 8
    with having(recipients.WORKER, RECIPIENTS=[public], PRIVATE_KEYS=[private]):
        assert everything_in(stocked) == before
        current = cipher()
        assert isinstance(current, RecipientCipher)
        rows = Attempt.objects.using(stocked)
        assert all(current.is_sealed_with_current_key(row.args) for row in rows)


def test_back_to_symmetric_keys(stocked: str, capsys: Any) -> None:
    """Both ciphers can't be asked at once: what is sealed for a recipient stays so, and is told."""
    with having(recipients.WORKER):
        rotate(stocked, capsys)
    assert "8 values are sealed with no key of the settings" in rotate(stocked, capsys)


def test_a_process_without_private_key_rotates_nothing(stocked: str, capsys: Any) -> None:
    with having(recipients.WORKER):
        rotate(stocked, capsys)
    _, public = new_recipient()
    with (
        having(recipients.WEB, RECIPIENTS=[public, recipients.PUBLIC]),
        pytest.raises(CommandError, match="8 values are marked with the key"),
    ):
        rotate(stocked, capsys)
    with having(recipients.WORKER):
        assert everything_in(stocked)["message"] == "the stove is cold"

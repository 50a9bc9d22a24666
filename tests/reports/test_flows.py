"""Reports of callbacks that came too early, or never."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from async_attempts import call, current_attempt, parallel
from async_attempts.store import store_for
from tests.faults.conftest import LEASE
from tests.faults.leases import let_leases_run_out
from tests.shop import effects, flows
from tests.worker.helpers.attempts import drain, states


@pytest.fixture(autouse=True)
def noted() -> Iterator[list[tuple[str, object]]]:
    flows.noted.clear()
    yield flows.noted
    flows.noted.clear()


def after_a_group(database: str) -> None:
    members = [call(effects.act_thrice, n).using(database=database) for n in range(2)]
    parallel(*members).then(flows.build).enqueue()


def test_what_follows_a_group_waits_for_a_member_that_is_retried(database, acting, noted):
    """celery/celery#1401, celery/celery#2405: the body of a chord is never called when a task of
    its header is retried, or is called before that one has ended.
    """

    def fail_at_first(number: int) -> int:
        if number == 0 and current_attempt().num_attempts == 1:
            raise OSError("not yet")
        noted.append(("member", number))
        return number

    acting(fail_at_first)
    after_a_group(database)
    drain(database)
    assert sorted(noted[:-1]) == [("member", 0), ("member", 1)]
    assert noted[-1] == ("build", [0, 1])
    assert states(database) == ["succeeded"] * 3


def test_what_follows_a_group_is_called_once_though_a_member_was_performed_twice(
    database, acting, noted, settings
):
    """celery/django-celery-results#397: a task of the header that is executed twice counts twice,
    and the chord is deleted before its last one has ended.
    """

    def be_taken_for_dead(number: int) -> int:
        if number == 0 and current_attempt().claim_seq == 1:
            let_leases_run_out(database)
            store_for(database).rescue()
        noted.append(("member", number))
        return number

    acting(be_taken_for_dead)
    # A worker looks whether it was taken for dead when it renews its lease.
    settings.ASYNC_ATTEMPTS = settings.ASYNC_ATTEMPTS | {"LEASE": LEASE}
    after_a_group(database)
    drain(database, batch_size=1)
    assert noted.count(("member", 0)) == 2
    assert [what for name, what in noted if name == "build"] == [[0, 1]]
    assert states(database) == ["succeeded"] * 3

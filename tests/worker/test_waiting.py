"""Waiting for what attempts come to, while a worker performs them."""

from __future__ import annotations

import asyncio
import pickle
import time
from datetime import timedelta

import pytest
from asgiref.sync import async_to_sync
from django.core.exceptions import SynchronousOnlyOperation
from django.db import transaction
from django.template import Context, Template

from async_attempts import (
    Attempt,
    AttemptExpired,
    AttemptFailed,
    AttemptGone,
    AttemptUnsuccessful,
    InvalidOption,
    ResultNotKept,
    WaitingInTransaction,
    call,
    current_attempt,
    gather,
    parallel,
)
from tests.shop import effects, flows
from tests.worker.helpers.attempts import drain, enqueued, make_due, performed, raising, stored
from tests.worker.helpers.processes import until
from tests.worker.helpers.waiting import polls

KEEP = {"keep_result": True}
ONCE = {"max_attempts": 1}


def wait(attempt: Attempt, timeout: float = 30) -> object:
    return attempt.result(timeout)


def wait_async(attempt: Attempt, timeout: float = 30) -> object:
    return async_to_sync(attempt.aresult)(timeout)


both = pytest.mark.parametrize("waited", [wait, wait_async])


@both
def test_a_result_is_there_when_the_attempt_has_ended(database, acting, beside, waited):
    acting(lambda value: {"sent": value})
    attempt = enqueued(database, effects.act, 5, options=KEEP)
    beside.drain(database)
    assert waited(attempt) == {"sent": 5}
    assert waited(stored(attempt)) == {"sent": 5}


def test_a_worker_in_another_process_is_waited_for(database, workers):
    fetched = [
        call(flows.fetch, value).using(database=database, keep_result=True) for value in (1, 2)
    ]
    workers.start("--database", database, prepare=flows.noted.clear)
    for one in fetched:
        assert one.enqueue().result(60) == one.arguments.args[0]


def test_a_template_waits_for_nothing(database):
    attempt = enqueued(database, effects.act)
    template = Template("[{{ attempt.result }}{{ attempt.aresult }}{{ attempt.watch }}]")
    assert template.render(Context({"attempt": attempt})) == "[]"


NOT_KEPT = (
    r"tests\.shop\.flows\.fetch [0-9a-f-]{36} has succeeded, and its result wasn't kept: say "
)
"keep_result=True on its target or by using"


@both
def test_a_result_that_was_not_kept_is_no_none(database, beside, waited):
    attempt = enqueued(database, flows.fetch, 1)
    beside.drain(database)
    with pytest.raises(ResultNotKept, match=NOT_KEPT) as raised:
        waited(attempt)
    assert (raised.value.ending.status, raised.value.ending.stored_result) == ("succeeded", None)


@both
@pytest.mark.parametrize("options", [KEEP, {}], ids=["kept", "not kept"])
def test_a_result_that_is_none_is_none(database, beside, waited, options):
    attempt = enqueued(database, effects.act, options=options)
    beside.drain(database)
    assert waited(attempt) is None


@both
def test_a_failure_is_raised_with_its_class_and_message(database, acting, beside, waited):
    acting(raising(ValueError("the secret stove")))
    attempt = enqueued(database, effects.act, options=ONCE)
    beside.drain(database)
    with pytest.raises(AttemptFailed) as raised:
        waited(attempt)
    ending = raised.value.ending
    assert (ending.attempt_id, ending.status) == (attempt.pk, "failed")
    assert (ending.error_class, ending.message) == ("ValueError", "the secret stove")
    told = str(raised.value)
    assert told == f"tests.shop.effects.act {attempt.pk} is failed: ValueError"
    assert "stove" not in repr(raised.value)
    assert pickle.loads(pickle.dumps(raised.value)).ending == ending  # noqa: S301 our own


def test_who_waits_sees_the_last_of_several_executions(database, acting, beside):
    acting(lambda: current_attempt().num_attempts if current_attempt().num_attempts > 1 else 1 / 0)
    attempt = enqueued(database, effects.act_thrice, options=KEEP)

    def twice() -> None:
        drain(database)
        make_due(attempt)
        drain(database)

    beside.do(twice)
    assert attempt.result(30) == 2


@pytest.mark.parametrize("verb", ["expire", "fail", "request_cancel"])
def test_what_a_person_ends_is_raised(database, beside, verb):
    attempt = enqueued(database, effects.act)
    other = stored(attempt)
    beside.do(
        *([other.request_cancel] if verb == "request_cancel" else [getattr(other, verb), "why"])
    )
    error = AttemptFailed if verb == "fail" else AttemptExpired
    with pytest.raises(error) as raised:
        attempt.result(30)
    assert raised.value.ending.message == ("cancelled" if verb == "request_cancel" else "why")


def test_what_is_deleted_meanwhile_is_gone(database, beside):
    attempt = enqueued(database, effects.act)
    beside.do(Attempt.objects.using(database).filter(pk=attempt.pk)._raw_delete, database)
    with pytest.raises(AttemptGone, match=f"attempt {attempt.pk} is gone"):
        attempt.result(30)
    assert issubclass(AttemptGone, AttemptUnsuccessful)


@both
@pytest.mark.parametrize("timeout", [0.05, 0, timedelta(seconds=0.05)])
def test_a_timeout_names_the_attempt_and_its_state(database, waited, timeout):
    attempt = enqueued(database, effects.act)
    began = time.monotonic()
    with pytest.raises(TimeoutError, match=rf"After 0.* s .*effects\.act {attempt.pk} is pending"):
        waited(attempt, timeout)
    assert time.monotonic() - began < 5


@both
def test_a_timeout_names_an_attempt_whose_columns_were_not_loaded(database, waited):
    enqueued(database, effects.act)
    attempt = Attempt.objects.using(database).only("pk").get()
    with pytest.raises(TimeoutError, match=rf"effects\.act {attempt.pk} is pending"):
        waited(attempt, 0.01)


def test_a_timeout_of_what_runs_says_so(database, acting):
    attempt = enqueued(database, effects.act)

    def look() -> None:
        with pytest.raises(TimeoutError, match="is running"):
            attempt.result(0.01)

    acting(look)
    drain(database)
    assert stored(attempt).status == "succeeded"


@pytest.mark.parametrize(
    "timeout", [10**400, float("inf"), timedelta.max], ids=["int", "infinite", "timedelta"]
)
def test_a_timeout_may_be_as_long_as_you_like(database, timeout, beside):
    attempt = enqueued(database, effects.act, options=KEEP)
    beside.drain(database)
    assert attempt.result(timeout) is None


@pytest.mark.parametrize("timeout", [-1, "1", True, float("nan")])
def test_a_timeout_that_is_none_is_refused(database, timeout):
    attempt = enqueued(database, effects.act)
    with pytest.raises(InvalidOption, match="timeout: must be seconds or a timedelta"):
        attempt.result(timeout)


@both
def test_within_an_atomic_block_waiting_is_refused_at_once(database, waited):
    attempt = performed(database, effects.act, options=KEEP)
    with (
        transaction.atomic(database),
        pytest.raises(WaitingInTransaction, match="Leave the atomic block"),
    ):
        waited(attempt)
    assert waited(attempt) is None


@pytest.mark.django_db(transaction=True, databases=["default", "postgresql"])
def test_another_databases_atomic_block_keeps_nobody_from_waiting():
    attempt = performed("default", effects.act, options=KEEP)
    with transaction.atomic("postgresql"):
        assert attempt.result(0) is None


def test_an_atomic_target_can_not_wait(database, acting):
    other = enqueued(database, effects.act_by_mail, options={"scheduled_at": timedelta(days=1)})

    def refused() -> str:
        with pytest.raises(WaitingInTransaction):
            other.result()
        return "went on"

    acting(refused)
    assert performed(database, effects.act_atomically, options=KEEP).result(0) == "went on"


@pytest.mark.django_db
def test_the_block_of_a_test_case_is_no_callers(acting):
    acting(lambda: 7)
    attempt = call(effects.act).using(keep_result=True).enqueue()
    drain("default")
    assert attempt.result(0) == 7


def test_what_was_not_enqueued_can_not_be_waited_for():
    with pytest.raises(InvalidOption, match="was not enqueued"):
        call(effects.act).attempt().result()


def test_a_thread_with_an_event_loop_is_not_to_be_kept_waiting(database):
    attempt = enqueued(database, effects.act)

    async def wait_there() -> None:
        with pytest.raises(SynchronousOnlyOperation):
            attempt.result(1)

    asyncio.run(wait_there())


def test_nor_where_another_thread_asks_for_it(database, beside):
    attempt, other = (enqueued(database, effects.act) for _ in range(2))
    beside.do(lambda: gather(other, until="settled", timeout=30))
    until(polls)

    async def wait_there() -> None:
        with pytest.raises(SynchronousOnlyOperation):
            attempt.result(1)

    asyncio.run(wait_there())
    other.expire()


def test_other_coroutines_go_on_while_one_waits(database, acting, beside):
    acting(lambda: time.sleep(0.2))
    attempt = enqueued(database, effects.act, options=KEEP)
    beside.drain(database)
    ticks = []

    async def tick() -> None:
        while True:
            ticks.append(time.monotonic())
            await asyncio.sleep(0.01)

    async def both_at_once() -> None:
        ticking = asyncio.create_task(tick())
        await attempt.aresult(30)
        ticking.cancel()

    async_to_sync(both_at_once)()
    assert len(ticks) > 5


def test_who_waits_can_be_cancelled(database):
    attempt = enqueued(database, effects.act)

    async def cancelled() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await attempt.aresult()

    async_to_sync(cancelled)()


def test_the_attempts_of_a_flow_can_be_waited_for(database, beside):
    def on(*args):
        return call(*args).using(database=database)

    flow = parallel(on(flows.fetch, 1), on(flows.fetch, 2)).then(
        on(flows.build).using(keep_result=True)
    )
    last = flow.enqueue()
    beside.drain(database)
    assert last.result(30) == "[1, 2]"


def test_what_expires_because_of_another_is_raised(database, beside):
    def on(*args):
        return call(*args).using(database=database)

    last = on(flows.refuse).then(flows.fetch).enqueue()
    beside.drain(database)
    with pytest.raises(AttemptExpired) as raised:
        last.result(30)
    assert "a prerequisite did not succeed" in raised.value.ending.message

"""Chains and groups: what follows what, and what it is handed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.db import OperationalError, transaction

from async_attempts import Attempt, Ending, InvalidOption, ResultNotKept, call, parallel
from async_attempts.batches import STATEMENT_KEYS as BATCH
from async_attempts.models import DatabaseNow, Dependency
from async_attempts.store.dependencies import Dependencies
from tests.shop import flows
from tests.worker.helpers.attempts import drain, enqueued, put, states, stored


@pytest.fixture(autouse=True)
def noted() -> Iterator[list[tuple[str, object]]]:
    flows.noted.clear()
    yield flows.noted
    flows.broken = True


@pytest.fixture
def on(database, transactional_db):
    """A call on the database of the test."""
    return lambda target, *args, **kwargs: call(target, *args, **kwargs).using(database=database)


def names(noted):
    return [name for name, _ in noted]


def test_a_chain_hands_on_each_result(database, on, noted):
    last = on(flows.fetch, 1).then(flows.increase).then(flows.increase, by=5).enqueue()
    assert states(database) == ["pending", "waiting", "waiting"]
    assert (last.status, last.blockers) == ("waiting", 1)
    drain(database)
    assert noted == [("fetch", 1), ("increase", 1), ("increase", 2)]
    assert stored(last).status == "succeeded"
    assert states(database) == ["succeeded"] * 3


def test_a_group_hands_on_the_list_of_its_results_in_order(database, on, noted):
    members = [on(flows.fetch, number) for number in range(5)]
    parallel(*members).then(flows.build, name="all: ").then(flows.fetch).enqueue()
    drain(database)
    assert noted[-2:] == [("build", [0, 1, 2, 3, 4]), ("fetch", "all: [0, 1, 2, 3, 4]")]


def test_a_wide_group_is_closed_in_several_batches(database, on, noted):
    wide = BATCH * 5 // 2
    parallel(*[on(flows.fetch, number) for number in range(wide)]).then(flows.build).enqueue()
    drain(database)
    assert noted[-1] == ("build", [*range(wide)])
    assert set(states(database)) == {"succeeded"}


def test_groups_nest(database, on, noted):
    inner = parallel(on(flows.fetch, 1), on(flows.fetch, 2).then(flows.increase))
    parallel(inner, on(flows.fetch, 5), inner.then(flows.build)).then(flows.build).enqueue()
    drain(database)
    assert noted[-1] == ("build", [[1, 3], 5, "[1, 3]"])


def test_a_group_alone_returns_its_attempts(database, on):
    first, second = parallel(on(flows.fetch, 1), flows.clear_up).enqueue()
    assert (first.method_name, second.method_name) == ("fetch", "clear_up")
    assert states(database) == ["pending", "pending"]


def test_nothing_to_wait_for_is_an_empty_list(database, on, noted):
    parallel().then(on(flows.build)).enqueue()
    drain(database)
    assert noted == [("build", [])]


@pytest.mark.parametrize(
    ("target", "told"),
    [
        (flows.refuse, ("failed", "ValueError", "the stove is cold")),
        (flows.give_up, ("failed", "Fail", "no more of it")),
        (flows.drop, ("expired", "", "out of season")),
    ],
)
def test_the_error_of_the_first_that_failed_is_caught(database, on, noted, target, told):
    status, error, message = told
    flow = on(target).then(flows.increase).then(flows.increase).catch(flows.report)
    flow.finally_(flows.clear_up).enqueue()
    drain(database)
    assert states(database) == [status, "expired", "expired", "succeeded", "succeeded"]
    (_, ending) = noted[-2]
    first = Attempt.objects.using(database).earliest("id")
    assert isinstance(ending, Ending)
    assert (ending.attempt_id, ending.status) == (first.pk, status)
    assert (ending.error_class.rpartition(".")[2], ending.message) == (error, message)
    assert (ending.target, ending.method_name) == ("tests.shop.flows", target.__name__)
    assert names(noted)[-2:] == ["report", "clear_up"]
    for expired in Attempt.objects.using(database).order_by("id")[1:3]:
        assert expired.reason == f"a prerequisite did not succeed: {first.pk}"


def test_where_nothing_failed_nothing_is_caught(database, on, noted):
    on(flows.fetch, 1).then(flows.increase).catch(flows.report).finally_(flows.clear_up).enqueue()
    drain(database)
    assert names(noted) == ["fetch", "increase", "clear_up"]
    assert states(database) == ["succeeded", "succeeded", "expired", "succeeded"]


def test_what_follows_does_not_wait_for_what_catches(database, on, noted):
    on(flows.fetch, 1).catch(flows.report).then(flows.increase).enqueue()
    drain(database)
    assert names(noted) == ["fetch", "increase"]


def test_a_group_that_fails_is_caught_once(database, on, noted):
    parallel(on(flows.fetch, 1), on(flows.refuse), on(flows.refuse)).catch(flows.report).enqueue()
    drain(database)
    assert names(noted).count("report") == 1
    assert noted[-1][1].error_class.endswith("ValueError")


def test_a_group_is_settled_however_each_ended(database, on, noted):
    parallel(on(flows.fetch, 7), on(flows.refuse), on(flows.drop)).settled(flows.settle).enqueue()
    drain(database)
    (_, endings) = noted[-1]
    assert [ending.status for ending in endings] == ["succeeded", "failed", "expired"]
    assert [ending.result for ending in endings] == [7, None, None]
    assert [ending.succeeded for ending in endings] == [True, False, False]


def test_a_rollback_leaves_nothing(database, on):
    with transaction.atomic(database):
        on(flows.fetch, 1).then(flows.increase).enqueue()
        transaction.set_rollback(True, database)
    assert not Attempt.objects.using(database).exists()
    assert not Dependency.objects.using(database).exists()


@pytest.mark.parametrize(
    "case",
    [
        ("success", flows.clear_up, True),
        ("success", flows.refuse, False),
        ("failure", flows.clear_up, False),
        ("failure", flows.refuse, True),
        ("any", flows.clear_up, True),
        ("any", flows.refuse, True),
    ],
)
@pytest.mark.parametrize("is_late", [False, True], ids=["before it ends", "after it has ended"])
def test_one_depends_on_another(database, on, noted, case, is_late):
    condition, target, is_met = case
    first = on(target).enqueue()
    if is_late:
        drain(database)
    look_back = on(flows.look_back).using(depends_on=[(first, condition)]).enqueue()
    drain(database)
    assert stored(look_back).status == ("succeeded" if is_met else "expired")
    if is_met:
        [(_, [ending])] = noted[-1:]
        assert (ending.attempt_id, ending.status) == (first.pk, stored(first).status)


@pytest.mark.parametrize("keeps", [True, False])
def test_an_older_ones_result_is_there_if_it_was_kept(database, on, noted, keeps):
    first = on(flows.fetch, 1).using(keep_result=keeps).enqueue()
    drain(database)
    on(flows.look_back).using(depends_on=[first]).enqueue()
    drain(database)
    [(_, [ending])] = noted[-1:]
    assert (ending.succeeded, ending.keeps_result) == (True, keeps)
    if keeps:
        assert ending.result == ending.stored_result == 1
    else:
        with pytest.raises(ResultNotKept, match="keep_result=True"):
            assert ending.result


def test_a_row_is_created_that_depends_on_others(database, on, noted):
    first, second = on(flows.fetch, 1).enqueue(), on(flows.fetch, 2).enqueue()
    Attempt.objects.using(database).create(target=flows.look_back, depends_on=[first, second.pk])
    drain(database)
    assert names(noted) == ["fetch", "fetch", "look_back"]


def test_a_retry_opens_what_expired_because_of_it(database, on, noted):
    on(flows.break_at_first).then(flows.fetch).then(flows.fetch).enqueue()
    drain(database)
    assert states(database) == ["failed", "expired", "expired"]
    flows.broken = False
    Attempt.objects.using(database).earliest("id").retry()
    assert states(database) == ["pending", "waiting", "waiting"]
    drain(database)
    assert noted == [("fetch", "mended"), ("fetch", "mended")]
    assert states(database) == ["succeeded"] * 3


def test_a_retry_opens_nothing_that_something_else_holds_up(database, on):
    members = parallel(on(flows.break_at_first), on(flows.refuse))
    last = members.then(flows.build).enqueue()
    drain(database)
    flows.broken = False
    Attempt.objects.using(database).get(method_name="break_at_first").retry()
    drain(database)
    assert stored(last).status == "expired"
    assert states(database) == ["succeeded", "failed", "expired"]


def test_what_is_retried_itself_waits_for_what_has_not_succeeded(database, on, noted):
    last = on(flows.break_at_first).then(flows.fetch).enqueue()
    drain(database)
    stored(last).retry()
    drain(database)
    assert (stored(last).status, stored(last).blockers) == ("waiting", 1)
    flows.broken = False
    Attempt.objects.using(database).earliest("id").retry()
    drain(database)
    assert noted == [("fetch", "mended")]


def test_a_person_ends_a_prerequisite(database, on, noted):
    flow = on(flows.fetch, 1).then(flows.increase).catch(flows.report)
    flow.enqueue()
    Attempt.objects.using(database).earliest("id").expire("not needed")
    assert states(database) == ["expired", "expired", "pending"]
    drain(database)
    assert noted[-1][1].message == "not needed"


def test_a_prerequisite_that_was_deleted_counts_as_not_succeeded(database, on):
    first = on(flows.fetch, 1).enqueue()
    second = on(flows.look_back).using(depends_on=[first]).enqueue()
    third = on(flows.look_back).using(depends_on=[(first, "any")]).enqueue()
    Attempt.objects.using(database).filter(pk=first.pk)._raw_delete(database)
    drain(database)
    assert (stored(second).status, stored(third).status) == ("expired", "succeeded")


def test_a_circle_is_refused(database, transactional_db):
    one, other = call(flows.clear_up).attempt(), call(flows.clear_up).attempt()
    one.depends_on, other.depends_on = [other], [one]
    with pytest.raises(InvalidOption, match="wait for each other"):
        Attempt.objects.using(database).bulk_create([one, other])
    assert not Attempt.objects.using(database).exists()


@pytest.mark.parametrize(
    ("depends_on", "told"),
    [
        ("abc", "a str is no attempt"),
        ([1], "a int is no attempt"),
        (5, "a int is no attempt"),
    ],
)
def test_what_is_no_attempt_is_refused(database, on, depends_on, told):
    with pytest.raises(InvalidOption, match=told):
        on(flows.clear_up).using(depends_on=depends_on).enqueue()


def test_an_unknown_condition_is_refused(database, on):
    first = on(flows.clear_up).enqueue()
    with pytest.raises(InvalidOption, match="success, failure, any"):
        on(flows.clear_up).using(depends_on=[(first, "maybe")]).enqueue()


def test_an_attempt_that_is_not_there_is_refused_and_nothing_is_written(database, on):
    gone = on(flows.clear_up).enqueue()
    Attempt.objects.using(database).all()._raw_delete(database)
    with transaction.atomic(database):
        with pytest.raises(InvalidOption, match=str(gone.pk)):
            on(flows.clear_up).using(depends_on=[gone]).enqueue()
        on(flows.clear_up).enqueue()
    assert states(database) == ["pending"]


def test_a_result_that_is_handed_on_must_be_kept(on):
    with pytest.raises(InvalidOption, match="keep_result"):
        on(flows.fetch, 1).using(keep_result=False).then(flows.increase).enqueue()


@pytest.mark.filterwarnings("ignore:.*never enqueued")
def test_what_can_not_follow_is_refused(on):
    with pytest.raises(InvalidOption, match="A flow can't follow"):
        on(flows.fetch, 1).then(on(flows.fetch, 1).then(flows.increase))
    with pytest.raises(InvalidOption, match="its arguments itself"):
        on(flows.fetch, 1).then(call(flows.clear_up), 1)
    with pytest.raises(InvalidOption, match="A int is no call"):
        on(flows.fetch, 1).then(5)
    with pytest.raises(InvalidOption, match="parallel"):
        on(flows.fetch, 1).then(flows.increase).settled(flows.settle)


def test_an_attempt_that_waits_for_nothing_is_as_before(database):
    attempt = enqueued(database, flows.clear_up)
    assert (stored(attempt).has_dependents, stored(attempt).keep_result) == (False, False)


def test_what_follows_a_group_opens_when_each_was_mended(database, on, noted):
    parallel(on(flows.break_at_first), on(flows.break_at_first)).then(flows.build).enqueue()
    drain(database)
    flows.broken = False
    for failed in Attempt.objects.using(database).filter(status="failed").order_by("id"):
        failed.retry()
        drain(database)
    assert noted == [("build", ["mended", "mended"])]


def test_a_retry_undoes_no_persons_expire(database, on):
    last = on(flows.break_at_first).then(flows.fetch).enqueue()
    drain(database)
    stored(last).retry()
    stored(last).expire("no")
    flows.broken = False
    Attempt.objects.using(database).earliest("id").retry()
    drain(database)
    assert (stored(last).status, stored(last).reason) == ("expired", "no")


def test_what_can_never_begin_is_expired_again(database, on):
    on(flows.fetch, 1).catch(flows.report).enqueue()
    drain(database)
    Attempt.objects.using(database).filter(status="expired").retry()
    assert states(database) == ["succeeded", "expired"]


def test_a_result_that_nobody_is_handed_need_not_be_storable(database, on, noted):
    on(flows.make_something_odd).catch(flows.report).finally_(flows.clear_up).enqueue()
    drain(database)
    assert names(noted) == ["clear_up"]


def test_a_result_that_the_author_does_not_keep_can_not_be_handed_on(database, on):
    with pytest.raises(InvalidOption, match="keep_result"):
        on(flows.forget_it).then(flows.fetch).enqueue()
    assert not Attempt.objects.using(database).exists()


def test_a_row_that_was_there_must_keep_what_it_hands_on(database, on):
    once = on(flows.fetch, 1).using(idempotence_token="once")
    once.enqueue()
    with pytest.raises(InvalidOption, match="keep_result"):
        once.then(flows.increase).enqueue()


def test_a_row_that_was_refused_can_be_enqueued_without_what_was_wrong(database, on):
    gone = on(flows.clear_up).enqueue()
    Attempt.objects.using(database).all()._raw_delete(database)
    row = on(flows.clear_up).using(depends_on=[gone]).attempt()
    with pytest.raises(InvalidOption):
        row.save()
    row.depends_on = None
    row.save()
    assert states(database) == ["pending"]


def test_an_attempt_that_is_there_can_not_be_told_to_wait(database, on):
    first, second = on(flows.clear_up).enqueue(), on(flows.clear_up).enqueue()
    with pytest.raises(InvalidOption, match="when an attempt is enqueued"):
        second.depends_on = [first]


def test_an_empty_group_writes_nothing(database, on):
    assert parallel().enqueue() == []
    assert not Attempt.objects.using(database).exists()


def test_a_database_that_fails_when_others_are_told_ends_nobody(database, on, monkeypatch):
    monkeypatch.setattr(Dependencies, "close", fails)
    on(flows.fetch, 1).then(flows.increase).enqueue()
    drain(database, stop_after=1)
    assert states(database) == ["succeeded", "waiting"]


def fails(*_):
    raise OperationalError("the database is away")


@pytest.mark.parametrize("nested", [False, True])
def test_what_comes_finally_waits_for_those_that_go_on_after_the_first_failure(
    database, on, noted, nested
):
    late = on(flows.fetch, 1).using(scheduled_at=timedelta(hours=1)).then(flows.increase)
    group = parallel(on(flows.refuse), late)
    group = parallel(on(flows.fetch, 2), group) if nested else group
    group.then(flows.build).catch(flows.report).finally_(flows.clear_up).enqueue()
    drain(database)
    assert "report" in names(noted)
    assert "clear_up" not in names(noted)
    put(Attempt.objects.using(database).get(status="scheduled"), scheduled_at=DatabaseNow())
    drain(database)
    assert names(noted)[-3:] == ["fetch", "increase", "clear_up"]


def test_options_are_for_the_call_before_them(database, on):
    flow = on(flows.fetch, 1).then(flows.increase).using(queue="emails", priority=7)
    flow = flow.catch(flows.report).using(queue="fulfilment").finally_(flows.clear_up)
    last = flow.using(priority=-7).enqueue()
    rows = Attempt.objects.using(database).order_by("id")
    told = {row.method_name: (row.queue, row.priority) for row in rows}
    assert last.method_name == "increase"
    assert told == {
        "fetch": ("default", 0),
        "increase": ("emails", 7),
        "report": ("fulfilment", 0),
        "clear_up": ("default", -7),
    }
    assert Dependency.objects.using(database).count() == 4


@pytest.mark.filterwarnings("ignore:.*never enqueued")
def test_a_group_has_no_options_of_its_own():
    with pytest.raises(InvalidOption, match="using: give a group's options to its calls"):
        parallel(flows.clear_up).using(queue="emails")

"""What a dependent is handed, and what lets it begin, is what it was enqueued with."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import transaction
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from async_attempts import Attempt, ResultNotKept, call, parallel
from async_attempts.ids import uuid7
from async_attempts.lifecycle import NOT_KEPT
from async_attempts.models import DatabaseNow, Dependency, Failure
from tests.shop import flows
from tests.worker.helpers.attempts import drain, put, states, stored
from tests.worker.helpers.forging import flipped, kinds_of_failures, require_refused, subsets, swap

EDGE = ("prerequisite_id", "condition", "place", "needs_result")
READY = {"status": "pending", "blockers": 0, "completed_at": None, "claimed_by": None}

few = settings(
    max_examples=4,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(autouse=True)
def noted():
    flows.noted.clear()
    yield flows.noted
    flows.noted.clear()
    flows.broken = True


@pytest.fixture
def on(database, transactional_db):
    """A call on the database of the test, in the queue that is drained first."""

    def on(target, *args, **kwargs):
        return call(target, *args, **kwargs).using(database=database, queue="emails")

    return on


def edges(database: str | None, **wanted: Any) -> Any:
    return Dependency.objects.using(database).filter(**wanted)


def attempts(database: str | None, **wanted: Any) -> Any:
    return Attempt.objects.using(database).filter(**wanted).order_by("id")


def first_of(attempt: Attempt) -> Any:
    """The attempt that it waits for, or one of them."""
    edge = edges(attempt._state.db, attempt_id=attempt.pk).order_by("place", "id").first()
    return attempts(attempt._state.db).get(pk=edge.prerequisite_id)


def begin(database: str, *dependents: Attempt) -> None:
    """Let these be due, as somebody does who rewrites rows, and perform them."""
    with transaction.atomic(database):
        for dependent in dependents:
            put(dependent, **READY)
            edges(database, attempt_id=dependent.pk).update(state="met")
    drain(database, queues="default")


def test_each_changed_bit_of_a_result_that_is_handed_over_fails_the_dependent(database, on, noted):
    on(flows.fetch, 7).then(flows.increase).enqueue()
    drain(database, queues="emails")
    bits = 8 * len(attempts(database, method_name="fetch").get().sealed_result)
    with transaction.atomic(database):
        for _ in range(bits):
            on(flows.fetch, 7).then(flows.increase).enqueue()
    drain(database, queues="emails")
    with transaction.atomic(database):
        for number, first in enumerate(attempts(database, method_name="fetch")[1:]):
            put(first, sealed_result=list(flipped(first.sealed_result))[number])
    noted.clear()
    drain(database, queues="default")
    assert noted == [("increase", 7)]
    assert kinds_of_failures(database) == ["integrity"] * bits
    assert attempts(database, method_name="increase", status="failed").count() == bits


conditions = st.sampled_from(["success", "any"])
waits = st.lists(st.tuples(conditions, st.booleans()), min_size=1, max_size=3)


@few
@example(
    pairs=[
        ([("success", True)], [("any", False)], is_handed, columns)
        for is_handed in (True, False)
        for columns in subsets(EDGE)
    ]
)
@given(
    pairs=st.lists(
        st.tuples(waits, waits, st.booleans(), st.sampled_from(subsets(EDGE))),
        min_size=1,
        max_size=6,
    )
)
def test_what_the_edges_of_two_dependents_have_swapped_calls_neither(database, noted, pairs):
    flows.noted.clear()
    for model in (Failure, Dependency):
        model.objects.using(database).all().delete()
    attempts(database)._raw_delete(database)
    altered: list[Attempt] = []
    untouched: list[Attempt] = []
    with transaction.atomic(database):
        for first, second, is_handed, columns in pairs:
            one = handed(database) if is_handed else waiting(database, first)
            dependents = [one, waiting(database, second)]
            both = [
                edges(database, attempt_id=dependent.pk).earliest("id") for dependent in dependents
            ]
            (altered if swap(columns, *both) else untouched).extend(dependents)
    drain(database, queues="emails")
    begin(database, *altered, *untouched)
    for dependent in altered:
        require_refused(dependent)
    assert all(stored(dependent).status == "succeeded" for dependent in untouched)
    names = [name for name, _ in flows.noted if name != "fetch"]
    assert len(names) == len(untouched)


def handed(database: str) -> Attempt:
    """An attempt that is handed a result."""
    first = call(flows.fetch, 7).using(database=database, queue="emails")
    dependent: Attempt = first.then(flows.increase).enqueue()
    return dependent


def waiting(database: str, wanted: list[tuple[str, bool]]) -> Attempt:
    """An attempt that waits for such others, each written with it or before it."""
    depends_on = []
    for condition, is_new in wanted:
        row = call(flows.fetch, 1).using(database=database, queue="emails").attempt()
        if not is_new:
            row.save(using=database)
        depends_on.append((row, condition))
    dependent = call(flows.look_back).using(database=database, depends_on=depends_on).attempt()
    rows = [row for row, _ in depends_on if row._state.adding]
    Attempt.objects.using(database).bulk_create([*rows, dependent])
    return dependent


ALTERATIONS = {
    "another prerequisite": lambda edges, other: edges.filter(place=0).update(prerequisite=other),
    "itself": lambda edges, _: edges.filter(place=0).update(
        prerequisite_id=edges.first().attempt_id
    ),
    "a prerequisite that is gone": lambda edges, _: edges.filter(place=0).update(
        prerequisite_id=uuid7()
    ),
    "another condition": lambda edges, _: edges.filter(place=1).update(condition="any"),
    "a condition that doesn't exist": lambda edges, _: edges.update(condition="never"),
    "another place": lambda edges, _: edges.filter(place=2).update(place=7),
    "the same place twice": lambda edges, _: edges.update(place=0),
    "no place": lambda edges, _: edges.filter(place=2).update(place=None),
    "no need of a result": lambda edges, _: edges.update(needs_result=False),
    "a deleted edge": lambda edges, _: edges.filter(place=1).delete(),
    "no edges": lambda edges, _: edges.delete(),
    "an added edge": lambda edges, other: edges.create(
        attempt_id=edges.first().attempt_id,
        prerequisite=other,
        condition="success",
        place=3,
        state="met",
    ),
    "an edge twice": lambda edges, _: edges.create(
        attempt_id=edges.first().attempt_id,
        prerequisite_id=edges.get(place=1).prerequisite_id,
        condition="success",
        place=1,
        needs_result=True,
        state="met",
    ),
}


def test_what_was_altered_of_its_edges_lets_nobody_begin(database, on, noted):
    other = on(flows.fetch, 9).using(keep_result=True).enqueue()
    dependents = [
        parallel(*[on(flows.fetch, number) for number in range(3)]).then(flows.build).enqueue()
        for _ in range(len(ALTERATIONS) + 1)
    ]
    drain(database, queues="emails")
    noted.clear()
    for dependent, alter in zip(dependents[1:], ALTERATIONS.values(), strict=True):
        alter(edges(database, attempt_id=dependent.pk), other)
    begin(database, *dependents)
    assert noted == [("build", [0, 1, 2])]
    for dependent in dependents[1:]:
        require_refused(dependent)


def test_edges_added_to_what_waits_for_nothing_hand_it_nothing(database, on, noted):
    other = on(flows.fetch, 9).using(keep_result=True).enqueue()
    registrar = on(flows.look_back).using(queue="default").enqueue()
    edges(database).create(
        attempt=registrar, prerequisite=other, condition="success", place=0, state="met"
    )
    drain(database)
    assert ("look_back", []) in noted


@pytest.mark.parametrize("forged", ["another attempts", "an older one", NOT_KEPT, b"\x02", None])
def test_a_result_that_is_not_this_attempts_is_no_argument(database, on, noted, forged):
    last = on(flows.fetch, 10).then(flows.increase).enqueue()
    other = on(flows.fetch, 9999).using(keep_result=True).enqueue()
    drain(database, queues="emails")
    first = first_of(last)
    if forged == "another attempts":
        forged = stored(other).sealed_result
    elif forged == "an older one":
        forged = stored(first).args
    put(first, sealed_result=forged)
    noted.clear()
    drain(database, queues="default")
    assert noted == []
    require_refused(last)


def followed(way: str, database: str, check: Any) -> Any:
    """What is to follow a check only if it succeeds, or however it ends."""
    match way:
        case "then":
            return check.then(flows.fetch).enqueue()
        case "group":
            return parallel(check, check).then(flows.build).enqueue()
        case "settled":
            return parallel(check, check).settled(flows.settle).enqueue()
    row = check.attempt()
    wanted = [(row, "any" if way == "any" else "success")]
    dependent = call(flows.look_back).using(database=database, depends_on=wanted).attempt()
    Attempt.objects.using(database).bulk_create([row, dependent])
    return dependent


@pytest.mark.parametrize("way", ["then", "group", "depends_on", "settled", "any"])
@pytest.mark.parametrize("is_ended", [True, False], ids=["failed", "never performed"])
def test_a_check_that_somebody_has_set_to_succeeded_lets_nothing_follow(
    database, on, noted, way, is_ended
):
    other = on(flows.fetch, 1).using(keep_result=True).enqueue()
    drain(database, queues="emails")
    results = [None, NOT_KEPT, b"\x02\x01", stored(other).sealed_result]
    dependents = [followed(way, database, on(flows.refuse)) for _ in results]
    if is_ended:
        drain(database, queues="emails")
    noted.clear()
    ended = {"status": "succeeded", "claimed_by": None, "completed_at": DatabaseNow()}
    for dependent, result in zip(dependents, results, strict=True):
        checks = edges(database, attempt_id=dependent.pk).values_list("prerequisite", flat=True)
        attempts(database, pk__in=list(checks)).update(sealed_result=result, **ended)
    begin(database, *dependents)
    assert noted == []
    for dependent in dependents:
        require_refused(dependent)


def test_a_check_that_runs_still_lets_nothing_follow(database, on, noted):
    last = on(flows.clear_up).then(flows.fetch).enqueue()
    begin(database, last)
    require_refused(last)
    assert noted == []


@pytest.mark.parametrize("way", ["then", "depends_on"])
def test_a_check_that_was_deleted_lets_nothing_follow(database, on, noted, way):
    last = followed(way, database, on(flows.refuse))
    edges(database).update(state="met")
    put(last, **READY)
    attempts(database, method_name="refuse")._raw_delete(database)
    drain(database)
    assert noted == []
    assert stored(last).status == "failed"


def test_none_that_is_handed_on_is_proof_enough(database, on, noted):
    last = on(flows.fetch, None).then(flows.fetch).enqueue()
    checked = on(flows.clear_up).then(flows.fetch).enqueue()
    drain(database)
    assert {stored(last).status, stored(checked).status} == {"succeeded"}
    assert ("fetch", None) in noted
    assert states(database) == ["succeeded"] * 4


def test_what_is_named_as_the_cause_of_a_failure_hands_over_no_result(database, on, noted):
    last = on(flows.refuse).then(flows.fetch).catch(flows.report).enqueue_all()
    assert last
    other = on(flows.fetch, "a secret").using(keep_result=True).enqueue()
    drain(database, queues="emails")
    catching = attempts(database, method_name="report").get()
    assert edges(database, attempt_id=catching.pk).update(cause=other.pk) == 1
    drain(database, queues="default")
    (_, ending) = noted[-1]
    assert (ending.attempt_id, ending.stored_result) == (other.pk, None)
    with pytest.raises(ResultNotKept):
        assert ending.result

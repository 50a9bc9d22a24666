"""Steps of a flow that wait for others and aren't handed what came of them."""

from __future__ import annotations

import pytest

from async_attempts import Attempt, InvalidArguments, InvalidOption, call, parallel
from tests.shop import flows
from tests.worker.helpers.attempts import drain, states


@pytest.fixture(autouse=True)
def noted() -> list[tuple[str, object]]:
    flows.noted.clear()
    return flows.noted


@pytest.fixture
def on(database, transactional_db):
    """A call on the database of the test."""
    return lambda target, *args, **kwargs: call(target, *args, **kwargs).using(database=database)


def test_a_step_waits_and_has_its_own_arguments_alone(database, on, noted):
    flow = on(flows.fetch, 1).then(on(flows.increase, 40), hand=False).then(flows.increase)
    flow.enqueue()
    assert states(database) == ["pending", "waiting", "waiting"]
    drain(database)
    assert noted == [("fetch", 1), ("increase", 40), ("increase", 41)]


def test_after_a_group_nothing_is_handed_and_no_result_is_kept_for_it(database, on, noted):
    members = [on(flows.fetch, number).using(keep_result=False) for number in range(2)]
    parallel(*members).then(on(flows.look_back), hand=False).enqueue()
    rows = Attempt.objects.using(database)
    assert set(rows.values_list("keep_result", flat=True)) == {False}
    drain(database)
    name, prerequisites = noted[-1]
    assert name == "look_back"
    assert [ending.status for ending in prerequisites] == ["succeeded"] * 2


def test_a_step_without_the_result_expires_when_what_is_before_has_failed(database, on, noted):
    on(flows.refuse).then(on(flows.clear_up), hand=False).enqueue()
    drain(database)
    assert states(database) == ["failed", "expired"]
    assert noted == [("refuse", None)]


def test_handlers_needn_t_be_handed_an_ending(database, on, noted):
    parallel(on(flows.refuse)).settled(on(flows.clear_up), hand=False).enqueue()
    on(flows.refuse).catch(on(flows.clear_up), hand=False).enqueue()
    on(flows.fetch, 1).finally_(on(flows.clear_up), hand=False).enqueue()
    drain(database)
    assert sorted(name for name, _ in noted) == ["clear_up"] * 3 + ["fetch"] + ["refuse"] * 2


def test_hand_is_true_by_default_and_can_be_said(database, on, noted):
    on(flows.fetch, 1).then(on(flows.increase), hand=True).enqueue()
    drain(database)
    assert noted == [("fetch", 1), ("increase", 1)]


def test_a_function_s_own_keyword_argument_stays_its_own(database, on):
    flow = on(flows.fetch, 1).then(flows.increase, hand=False)
    with pytest.raises(InvalidArguments, match="'hand'"):
        flow.enqueue()
    assert not Attempt.objects.using(database).exists()


@pytest.mark.parametrize(("follow", "hand"), [("then", "no"), ("catch", None), ("finally_", True)])
def test_what_hand_can_t_be_is_refused(on, follow, hand):
    first, last = on(flows.fetch, 1), on(flows.clear_up)
    with pytest.raises(InvalidOption, match="hand: "):
        getattr(first, follow)(last, hand=hand)
    first.use(), last.use()

"""The lifecycle table, against the moves that were agreed on."""

from __future__ import annotations

import pytest

from async_attempts.lifecycle import FINAL, LIVE, MOVES, RUNNING, Status, sources_of

NOTHING = None
AGREED = {
    NOTHING: "pending scheduled waiting",
    "scheduled": "scheduled pending expired failed",
    "waiting": "pending scheduled expired failed",
    "pending": "running scheduled pending expired failed",
    "running": "succeeded scheduled pending waiting failed expired",
    "failed": "pending scheduled waiting",
    "expired": "pending scheduled waiting",
}


def test_the_moves_are_those_agreed_on():
    agreed = {(source, to) for source, targets in AGREED.items() for to in targets.split()}
    assert {(s, t) for move in MOVES for s in move.sources for t in move.targets} == agreed


@pytest.mark.parametrize(
    ("verb", "sources", "targets"),
    [
        ("enqueue", {None}, {"pending", "scheduled", "waiting"}),
        ("promote", {"scheduled"}, {"pending"}),
        ("claim", {"pending"}, {"running"}),
        ("succeed", {"running"}, {"succeeded"}),
        ("put off", {"running"}, {"scheduled"}),
        ("release", {"running"}, {"pending", "scheduled"}),
        ("rescue", {"running"}, {"pending", "scheduled"}),
        ("expire", {"scheduled", "pending", "waiting", "running"}, {"expired"}),
        ("fail", {"scheduled", "pending", "waiting", "running"}, {"failed"}),
        ("retry", {"failed", "expired"}, {"pending", "scheduled", "waiting"}),
        ("reschedule", {"scheduled", "pending", "waiting"}, {"pending", "scheduled"}),
    ],
)
def test_each_verb_moves_from_and_to_what_it_says(verb, sources, targets):
    (move,) = [move for move in MOVES if move.verb == verb]
    assert (move.sources, move.targets) == (sources, targets)
    assert sources_of(verb) == sources


def test_succeeded_is_final():
    assert not any("succeeded" in move.sources for move in MOVES)


def test_only_what_is_claimed_runs():
    assert [move.verb for move in MOVES if RUNNING in move.targets] == ["claim"]


def test_every_state_is_reached_from_nothing():
    reached: set[str | None] = {None}
    while more := {t for m in MOVES if m.sources & reached for t in m.targets} - reached:
        reached |= more
    assert reached == {None, RUNNING, *Status.values}


def test_an_attempt_is_live_or_has_ended_and_running_is_no_status():
    assert set(Status) == LIVE | FINAL
    assert not LIVE & FINAL
    assert RUNNING not in Status.values


def test_no_verb_is_there_twice():
    assert len({move.verb for move in MOVES}) == len(MOVES)


def test_a_verb_that_is_not_there_has_no_sources():
    with pytest.raises(KeyError):
        sources_of("reopen")

"""What a child writes on its page is there for its supervisor, whatever ends the child."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from uuid import uuid4

from async_attempts.worker.processes.fork import forked
from async_attempts.worker.shared.orphans import die_with_parent
from async_attempts.worker.shared.shared_memory import MOST_MISSING, Begun, Page, now


def done_by_a_child(work: Callable[[], object]) -> None:
    """Let a forked process do it, which dies by SIGKILL at once."""

    def die() -> int:
        work()
        os.kill(os.getpid(), signal.SIGKILL)
        return 0

    _, status = os.waitpid(forked(die), 0)
    assert os.WTERMSIG(status) == signal.SIGKILL


def test_what_had_begun_is_known_after_the_childs_death():
    page = Page(3)
    first, second, third, worker_id = (uuid4() for _ in range(4))

    def live() -> None:
        page.become(worker_id)
        recorded = page.begin(first.bytes, 1, 5.0)
        ended = page.begin(second.bytes, 2, 6.0)
        page.begin(third.bytes, 2**40, 7.0)
        assert recorded is not None
        assert ended is not None
        page.recorded(recorded)
        page.move(ended, 0.0)
        page.tick(performed=12, in_hand=3)
        page.want_suspects_performed(True)

    done_by_a_child(live)
    assert list(page.begun()) == [Begun(second, 2, 0.0), Begun(third, 2**40, 7.0)]
    assert (page.worker_id, page.performed, page.in_hand) == (worker_id, 12, 3)
    assert page.wants_suspects_performed
    assert 0 < page.ticked_at <= now()


def test_a_page_that_was_cleared_says_nothing_of_the_last_child():
    page = Page(1)

    def live() -> None:
        page.become(uuid4())
        page.begin(uuid4().bytes, 1, 5.0)
        page.tick(1, 1)

    done_by_a_child(live)
    page.ask_to_stop()
    page.clear(now())
    assert list(page.begun()) == []
    assert (page.worker_id, page.ticked_at, page.in_hand, page.is_to_stop) == (None, 0, 0, False)
    attempt_id = uuid4()
    done_by_a_child(lambda: page.begin(attempt_id.bytes, 3, 1.0))
    assert list(page.begun()) == [Begun(attempt_id, 3, 1.0)]


def test_the_place_of_what_was_recorded_is_free_again():
    page = Page(2)
    for _ in range(5):
        place = page.begin(uuid4().bytes, 1, 1.0)
        assert place is not None
        page.recorded(place)
    assert list(page.begun()) == []


def test_a_full_page_says_so_and_keeps_what_it_has():
    page = Page(1)
    attempt_id = uuid4()
    page.begin(attempt_id.bytes, 1, 1.0)
    assert page.begin(uuid4().bytes, 1, 1.0) is None
    assert list(page.begun()) == [Begun(attempt_id, 1, 1.0)]


def test_what_the_supervisor_says_reaches_the_child():
    page = Page(1)
    mine, other = uuid4(), uuid4()
    page.lose(mine)
    page.hold_until(99.5)
    page.ask_to_stop()

    def live() -> None:
        said = (page.holds_until, page.has_lost(mine), page.has_lost(other), page.is_to_stop)
        page.tick(performed=int(said == (99.5, True, False, True)), in_hand=0)

    done_by_a_child(live)
    assert page.performed == 1


def test_what_is_read_while_the_child_writes_it_is_never_half_written():
    page = Page(1)
    page.tick(performed=1, in_hand=1)

    def tick_for_ever() -> int:
        die_with_parent(signal.SIGKILL)
        while True:
            page.tick(performed=1, in_hand=1)
            place = page.begin(uuid4().bytes, 1, now() + 60)
            assert place is not None
            page.move(place, 0.0)
            page.recorded(place)

    child = forked(tick_for_ever)
    try:
        for _ in range(50_000):
            assert page.ticked_at
            assert page.performed == 1
            assert not any(0 < begun.deadline <= now() for begun in page.begun())
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_what_a_child_could_not_open_is_counted_by_key():
    page = Page(1)

    def live() -> None:
        for _ in range(3):
            page.count_missing_key("1a2b3c4d")
        page.count_missing_key("none")
        page.count_missing_key("arn:aws:kms:eu-central-1:é")

    done_by_a_child(live)
    assert page.missing_keys() == {"1a2b3c4d": 3, "none": 1, "arn:aws:kms:eu-central-1": 1}
    assert not list(page.begun())
    page.clear(now())
    assert page.missing_keys() == {}


def test_whoever_makes_up_keys_is_counted_and_writes_over_nothing():
    page = Page(1)
    page.begin(uuid4().bytes, 1, 5.0)
    before = list(page.begun())
    for number in range(10 * MOST_MISSING):
        page.count_missing_key(f"{number:08x}")
    counted = page.missing_keys()
    assert len(counted) == MOST_MISSING
    assert sum(counted.values()) == 10 * MOST_MISSING
    assert counted["others"] == 9 * MOST_MISSING + 1
    assert list(page.begun()) == before

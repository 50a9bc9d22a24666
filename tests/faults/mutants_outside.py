"""Guards against whoever reaches a worker from outside: by its health port, or by notifications."""

from __future__ import annotations

from typing import Final

from tests.faults.mutants import Mutant

HEALTH = "tests/worker/health/test_server.py::"
ONCE_A_SECOND = f"{HEALTH}test_the_database_is_asked_once_a_second_however_often_it_is_asked"
READINESS = "tests/worker/health/test_readiness.py::"
POLLER = "tests/worker/loop/test_poller.py::"
LOOK_RATE = "tests/store/test_look_rate.py::"
FLOOD = "tests/worker/loop/test_wakeup_flood.py::"

MUTANTS: Final = (
    Mutant(
        "the oldest silent client makes room",
        (("worker/health/server.py", "        if idle is None:\n", "        if True:\n"),),
        (f"{HEALTH}test_beyond_its_limit_the_oldest_client_makes_room[silent]",),
    ),
    Mutant(
        "a client that waits for its answer makes no room",
        (("worker/health/server.py", " if each not in self._asking", ""),),
        (f"{HEALTH}test_a_client_that_waits_for_its_answer_does_not_make_room[postgresql]",),
    ),
    Mutant(
        "few wait for an answer",
        (("worker/health/server.py", "BoundedSemaphore(1 + MAX_WAITING)", "BoundedSemaphore(99)"),),
        (f"{HEALTH}test_those_who_wait_for_an_answer_leave_room_for_livez[postgresql]",),
    ),
    Mutant(
        "readiness is asked once a second",
        (("worker/health/readiness.py", "FRESH: Final = 1.0", "FRESH: Final = 0.0"),),
        (f"{ONCE_A_SECOND}[postgresql]",),
    ),
    Mutant(
        "what was applied is read again",
        (
            (
                "worker/health/readiness.py",
                "if recorded != self._recorded:",
                "if self._recorded is None:",
            ),
        ),
        (f"{READINESS}test_an_answer_holds_for_a_second[sqlite]",),
    ),
    Mutant(
        "looks that notifications cause are limited",
        (("worker/loop/wakeup.py", "            self._rate.take()\n", "            pass\n"),),
        (f"{FLOOD}test_a_flood_costs_an_idle_worker_few_looks[postgresql]",),
    ),
    Mutant(
        "tokens come back slowly",
        (
            (
                "store/notifications.py",
                "LOOKS_PER_SECOND: Final = 16.0",
                "LOOKS_PER_SECOND: Final = 100.0",
            ),
        ),
        (f"{LOOK_RATE}test_never_more_than_twenty_in_a_second",),
    ),
    Mutant(
        "notifications without end leave a look each second",
        (
            (
                "worker/loop/poller.py",
                "poll_at = max(poll_at, self._polled_at + BUSY_INTERVAL)",
                "return",
            ),
        ),
        (f"{POLLER}test_notifications_without_end_leave_it_a_look_each_second[sqlite]",),
    ),
)

"""The guards of the performers' sessions, in the form of `mutants`."""

from __future__ import annotations

from typing import Final

from tests.faults.mutants import Mutant

ENDED = "tests/worker/execution/test_ended_sessions.py::"
LEFT_OPEN = "tests/worker/execution/test_left_open.py::"
POOLS = "tests/worker/execution/test_pools.py::"
TESTCASE = "tests/worker/processes/test_within_testcase.py::test_the_worker_works_within_a_testcase"

MUTANTS: Final = (
    Mutant(
        "the look for ended sessions",
        (("worker/execution/runner.py", "if moment >= self.connections.looks_at:", "if False:"),),
        (f"{ENDED}test_the_next_target_has_a_new_one[postgresql]",),
    ),
    Mutant(
        "the look before a call of an async target",
        (("worker/executors/call_threads.py", "if moment >= here.looks_at:", "if False:"),),
        (f"{ENDED}test_an_async_target_has_a_new_one[postgresql-to_thread]",),
    ),
    Mutant(
        "the cleaning after a call of an async target",
        (
            (
                "worker/executors/call_threads.py",
                "                here.clean(NO_BLOCKS)",
                "                pass",
            ),
        ),
        (
            (
                f"{ENDED}test_one_that_failed_a_call_of_an_async_target_is_not_left_to_the_next"
                "[postgresql-to_thread]"
            ),
        ),
    ),
    Mutant(
        "asking a session whose socket is readable",
        (
            (
                "worker/execution/sessions.py",
                "return bool(poll.poll(0)) and not connection.is_usable()",
                "return bool(poll.poll(0))",
            ),
        ),
        (f"{ENDED}test_a_session_with_a_notification_to_read_is_kept[postgresql]",),
    ),
    Mutant(
        "the second reading of arguments",
        (
            (
                "worker/execution/runner.py",
                "            if not tells_of_lost_session(error):\n                raise\n",
                "            raise\n",
            ),
        ),
        (f"{ENDED}test_what_a_target_is_called_with_is_read_by_a_new_one[postgresql-False]",),
    ),
    Mutant(
        "giving back what could not be read",
        (("worker/execution/outcomes.py", "if tells_of_lost_session(exception):", "if False:"),),
        (
            (
                f"{ENDED}test_what_finds_no_server_before_its_target_is_called_is_given_back"
                "[postgresql-argument]"
            ),
        ),
    ),
    Mutant(
        "what an atomic target's transaction says before the call",
        (
            (
                "worker/execution/runner.py",
                "if not is_held and isinstance(exception, Error):",
                "if False:",
            ),
        ),
        (
            f"{ENDED}test_an_atomic_target_is_called_on_a_new_one[postgresql-False]",
            (
                f"{ENDED}test_what_finds_no_server_before_its_target_is_called_is_given_back"
                "[postgresql-atomic]"
            ),
        ),
    ),
    Mutant(
        "the driver's word on an open transaction",
        (
            (
                "worker/execution/connection_cleanup.py",
                "if state() in (OPEN, ABORTED):",
                "if False:",
            ),
        ),
        (
            f"{LEFT_OPEN}test_the_next_targets_write_what_they_write[sqlite-drain-begin]",
            (
                f"{LEFT_OPEN}test_a_call_of_an_async_target_fails_at_once"
                "[sqlite-begin-thread_of_the_orm]"
            ),
        ),
    ),
    Mutant(
        "the note of a statement that may open a transaction",
        (
            (
                "worker/execution/sessions.py",
                "            self.in_doubt = True\n        self._query(",
                "            pass\n        self._query(",
            ),
        ),
        (f"{LEFT_OPEN}test_it_is_noticed_of_the_driver_too[mariadb]",),
    ),
    Mutant(
        "a transaction that an atomic target ended",
        (("worker/execution/runner.py", "if has_left_transaction(connection):", "if False:"),),
        (f"{LEFT_OPEN}test_an_atomic_target_that_ends_its_transaction_has_failed[sqlite-COMMIT]",),
    ),
    Mutant(
        "giving back what came from a pool",
        (("worker/executors/threads.py", "                runner.connections.give_back()\n", ""),),
        (f"{POOLS}test_async_targets_have_their_turn_while_all_threads_perform[postgresql]",),
    ),
    Mutant(
        "the async thread's giving back",
        (
            (
                "worker/executors/event_loop.py",
                "            self._shared_thread.rest()",
                "            pass",
            ),
        ),
        (f"{POOLS}test_idle_threads_keep_none[postgresql]",),
    ),
    Mutant(
        "the look at what comes from a pool",
        (
            (
                "worker/execution/connection_cleanup.py",
                "if is_pooled(connection) and has_ended(connection):",
                "if False:",
            ),
        ),
        (f"{POOLS}test_one_that_the_server_ended_in_the_pool_is_replaced[postgresql]",),
    ),
    Mutant(
        "the savepoint within a TestCase",
        (("worker/execution/connection_cleanup.py", "if is_in_testcase(c)]", "if False]"),),
        (f"{TESTCASE}[sqlite]",),
    ),
    Mutant(
        "the TestCase's connection in an outage",
        (("worker/loop/outages.py", "if not is_in_testcase(connection):", "if True:"),),
        (f"{TESTCASE}[sqlite]",),
    ),
    Mutant(
        "results that nobody awaits",
        (
            (
                "worker/execution/outcomes.py",
                "if result is None or not isinstance(result, UNDONE):",
                "if True:",
            ),
        ),
        (
            (
                "tests/worker/loop/test_enduring.py::"
                "test_nor_is_what_nobody_iterates_over_or_awaits[sqlite-act-generate]"
            ),
        ),
    ),
)

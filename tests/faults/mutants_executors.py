"""The guards of executors, timeouts and signals that `mutations` takes out."""

from __future__ import annotations

from typing import Final

from tests.faults.mutants import Mutant

LOOP: Final = "tests/worker/executors/test_event_loop.py::"
CHILD_SLOT: Final = "tests/worker/processes/test_child_slot.py::"
ALARMS: Final = "tests/worker/execution/test_alarm.py::"
SIGNALS_OF_TARGETS: Final = (
    "tests/worker/processes/test_signals_of_targets.py::"
    "test_each_signal_ends_what_a_target_has_begun"
)
HANDED_ON: Final = (
    "tests/worker/processes/test_signals_of_targets.py::"
    "test_a_drain_in_this_process_hands_on_no_handler_either"
)
ALARM: Final = f"{ALARMS}test_a_target_that_uses_the_alarm_takes_nobody_elses_timeout"
STARVED: Final = (
    "tests/faults/test_timeouts.py::"
    "test_who_starves_its_process_uses_up_no_execution_of_a_neighbour"
)
EVENT_LOOP: Final = "worker/executors/event_loop.py"

MUTANTS: Final = (
    Mutant(
        "having been told before being to blame",
        (
            (
                "worker/shared/shared_memory.py",
                "0 < self.deadline <= self.ends_by <= moment",
                "0 < self.deadline <= moment",
            ),
        ),
        (f"{CHILD_SLOT}test_who_was_not_told_that_its_time_is_over_has_not_ignored_that",),
    ),
    Mutant(
        "a moved deadline of which nobody was told",
        (("worker/shared/shared_memory.py", "self.ends_by < self.deadline <= moment", "False"),),
        (f"{CHILD_SLOT}test_a_moved_deadline_has_to_be_told_of_again",),
    ),
    Mutant(
        "the suspicion of all that a starved process had begun",
        (
            (
                "worker/processes/child_slot.py",
                "        self.was_starved = True\n",
                "        self.kill()\n",
            ),
        ),
        (f"{CHILD_SLOT}test_who_was_not_told_that_its_time_is_over_has_not_ignored_that",),
    ),
    Mutant(
        "the end of a starved process",
        (
            (
                "worker/processes/supervisor.py",
                "starved := child_slot.starved()",
                "starved := frozenset()",
            ),
        ),
        (f"{STARVED}[sqlite-block_the_event_loop-leave_traces_asynchronously]",),
    ),
    Mutant(
        "the innocence of all in a process with a fault of its own",
        (
            (
                "worker/processes/child_slot.py",
                " or self.state.end == End.FAULTY",
                "",
            ),
        ),
        (f"{CHILD_SLOT}test_nobody_is_to_blame_for_a_fault_of_the_process_itself",),
    ),
    Mutant(
        "the note of a timeout that is raised in the main thread",
        (
            (
                "worker/execution/timeouts.py",
                "        deadline.told()\n        self.has_raised = True\n        raise",
                "        self.has_raised = True\n        raise",
            ),
        ),
        (f"{ALARMS}test_who_is_told_is_noted_as_such_before_it_is_raised",),
    ),
    Mutant(
        "the note of a timeout that is raised in another thread",
        (
            (
                "worker/execution/timeouts.py",
                "            deadline.told()\n            self._is_late",
                "            self._is_late",
            ),
        ),
        (f"{ALARMS}test_who_is_told_is_noted_as_such_before_it_is_raised",),
    ),
    Mutant(
        "the note of a timeout that the main thread doesn't hear",
        (
            (
                "worker/execution/timeouts.py",
                "        deadline.told()\n        # What",
                "        # What",
            ),
        ),
        (f"{ALARMS}test_the_timekeeper_tells_whom_the_alarm_does_not_reach",),
    ),
    Mutant(
        "the ring in place of a timer that a target has taken",
        (
            (
                "worker/execution/timeouts.py",
                "        signal.pthread_kill(self._thread, signal.SIGALRM)\n",
                "",
            ),
        ),
        (f"{ALARMS}test_the_timekeeper_rings_for_a_timer_that_a_target_has_taken[nothing]",),
    ),
    Mutant(
        "the timer that is set for each execution without a timekeeper",
        (
            (
                "worker/execution/timeouts.py",
                "if self._timekeeper is None or deadline.at < self._armed_for:",
                "if deadline.at < self._armed_for:",
            ),
        ),
        (f"{ALARM}[sqlite-nothing]", f"{ALARM}[sqlite-its handler]"),
    ),
    Mutant(
        "the timer of whoever calls a drain",
        (("worker/execution/timeouts.py", "        if self._left:\n", "        if False:\n"),),
        (
            f"{ALARMS}test_a_drain_gives_back_the_alarm_with_what_is_left_of_it[sqlite]",
            f"{ALARMS}test_an_alarm_that_was_due_meanwhile_rings_afterwards",
            f"{ALARMS}test_a_renewal_gives_back_the_alarm",
        ),
    ),
    Mutant(
        "the handler of the alarm that a target takes away",
        (
            (
                "worker/execution/timeouts.py",
                "            signal.signal(signal.SIGALRM, self._handler)\n",
                "            pass\n",
            ),
        ),
        (f"{ALARM}[sqlite-its handler]",),
    ),
    Mutant(
        "the loop that goes on after an exit",
        (
            (
                EVENT_LOOP,
                "            while not self._is_closing:\n                self._run()\n",
                "            self._run()\n",
            ),
        ),
        (
            f"{LOOP}test_what_a_sub_task_raises_ends_nobody_else[sqlite-SystemExit]",
            f"{LOOP}test_who_stops_the_loop_stops_nobody[sqlite]",
        ),
    ),
    Mutant(
        "the end of a process whose event loop has ended",
        ((EVENT_LOOP, "            self._lost()\n", "            pass\n"),),
        (f"{LOOP}test_a_loop_that_can_run_no_more_says_so_and_gives_back_what_waits[sqlite]",),
    ),
    Mutant(
        "the silence of a loop that has ended",
        (
            (
                EVENT_LOOP,
                "with suppress(RuntimeError):\n                self._loop",
                "with suppress(KeyError):\n                self._loop",
            ),
        ),
        (f"{LOOP}test_a_loop_that_can_run_no_more_says_so_and_gives_back_what_waits[sqlite]",),
    ),
    Mutant(
        "the return of an execution that was cancelled",
        (
            (
                EVENT_LOOP,
                "            then()\n",
                "            if not task.cancelled():\n                then()\n",
            ),
        ),
        (
            f"{LOOP}test_who_cancels_itself_and_raises_comes_back_and_leaves_its_place[sqlite]",
            f"{LOOP}test_who_cancels_all_that_it_finds_loses_nobody[sqlite]",
        ),
    ),
    Mutant(
        "the call that outlives its target",
        (
            (
                EVENT_LOOP,
                "while (call := self._shared_thread.call_of(execution.current)) is not None:",
                "while (call := None) is not None:",
            ),
        ),
        (
            f"{LOOP}test_an_execution_goes_on_as_long_as_its_call_in_the_shared_thread[sqlite]",
            f"{LOOP}test_a_call_that_its_target_has_given_up_is_told_of_its_timeout_as_well[sqlite]",
        ),
    ),
    Mutant(
        "whose call keeps the shared thread",
        (
            (
                "worker/executors/call_threads.py",
                "if other is caller and call.running():",
                "if call.running():",
            ),
        ),
        (f"{LOOP}test_who_waits_for_the_shared_thread_is_not_to_blame_for_who_keeps_it[sqlite]",),
    ),
    Mutant(
        "the signals of programs that a target starts",
        (
            (
                "worker/processes/inherited_signals.py",
                "signal.signal(number, _do_nothing)",
                "signal.signal(number, signal.SIG_IGN)",
            ),
        ),
        (f"{SIGNALS_OF_TARGETS}[sqlite-1]",),
    ),
    Mutant(
        "the signals of processes that a target forks",
        (("worker/processes/inherited_signals.py", "        self.are_reset = wanted\n", ""),),
        (
            f"{SIGNALS_OF_TARGETS}[sqlite-3]",
            f"{HANDED_ON}[sqlite-15]",
        ),
    ),
)

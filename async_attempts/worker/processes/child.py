"""A child process, which claims, performs and records."""

from __future__ import annotations

import faulthandler
import os
import resource
import signal
import sys
import threading
from pathlib import Path
from typing import Final

from django.db import Error, connections

from ...store import Store, store_for
from ..execution.announcer import InThreads
from ..execution.interruptions import Interruptions
from ..execution.missing_keys import MissingKeys
from ..execution.runner import Runner
from ..execution.timeouts import AlarmWatch, ThreadWatch, Timekeeper, Watch
from ..executors.event_loop import EventLoop
from ..executors.threads import Threads
from ..loop.claim_loop import Loop
from ..loop.in_flight import InFlight
from ..loop.poller import Poller
from ..loop.queue_filter import QueueFilter
from ..loop.wakeup import WakeUp
from ..shared.connections import have_server_notice_death, use_own_connection
from ..shared.fork import CRASHED, die_with_parent
from ..shared.options import Options
from ..shared.registration import SupervisedLease
from ..shared.shared_memory import ChildState, End, now
from ..shared.wake_pipe import LoopWait, StopEvent
from .os_signals import ignore, reset_in_forks

SWITCH_INTERVAL: Final = 0.001
"""Seconds: the loop's thread needs the interpreter often, and each time for a moment only."""

MEMORY_INTERVAL: Final = 1.0

LAST_RESORT: Final = signal.SIGUSR2
"""Writes the stacks without the interpreter's lock. While other threads run, that crashes the
process every few times, so it is for a process in which no thread can run.
"""


def run_child(options: Options, state: ChildState, supervisor: int) -> int:
    """Run a child in this process until it is done or told to stop; return the exit code.

    The state in shared memory says how it ended.
    """
    Child(options, state, supervisor).run()
    return 0 if state.end in (End.DONE, End.WORN_OUT) else CRASHED


def resident_bytes() -> int:
    """Return the memory that this process uses (proc_pid_statm(5)); 0 where that isn't known."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * resource.getpagesize()


class Child:
    """One child process: its main thread performs, and its claim loop has a thread of its own."""

    def __init__(self, options: Options, state: ChildState, supervisor: int) -> None:
        self.options = options
        self.state = state
        self.supervisor = supervisor
        self.stop_event = StopEvent()
        self._started_at = now()
        self._next_weighing = 0.0
        self._is_worn_out = False
        self._listen_to_signals()
        self._build(store_for(options.database), LoopWait(self.stop_event.wake_pipe))

    def _build(self, store: Store, loop_wait: LoopWait) -> None:
        options, state = self.options, self.state
        queue_filter = QueueFilter(options.queues)
        self._announcer = InThreads()
        store.ends.deliver_by(self._announcer.call)
        self._lease = SupervisedLease(store, options, state)
        self._timekeeper = Timekeeper()
        self._missing_keys = MissingKeys(state.count_missing_key)
        self._in_flight = InFlight(
            store,
            queue_filter,
            wake=loop_wait.wake,
            recorded=state.recorded,
            announcer=self._announcer,
        )
        self._interruptions = Interruptions(store)
        self._event_loop = self._new_event_loop() if options.async_tasks else None
        if self._event_loop is not None:
            self._interruptions.performers.append(self._event_loop)
        self._performers = Threads(
            self._in_flight, self._new_runner, loop_wait, options.threads, self._event_loop
        )
        wakeup = None if options.exits_when_done else WakeUp(store, options.poll_interval)
        self._loop = Loop(
            options,
            self._in_flight,
            lease=self._lease,
            executor=self._performers,
            poller=Poller(store, queue_filter, wakeup, self._missing_keys),
            stop_event=self.stop_event,
            observer=self,
            interruptions=self._interruptions,
        )

    def _new_event_loop(self) -> EventLoop:
        return EventLoop(
            self.options.async_tasks,
            self._in_flight.ended,
            self._lease,
            self.state,
            self._in_flight.progress.say,
            lost=self._end_without_blame,
        )

    def _new_runner(self) -> Runner:
        """Return a runner for the calling thread."""
        is_main = threading.current_thread() is threading.main_thread()
        watch: Watch = (AlarmWatch if is_main else ThreadWatch)(self._timekeeper)
        runner = Runner(
            self._in_flight.store,
            self._lease,
            watch,
            self.state,
            async_executor=self._event_loop,
            progress=self._in_flight.progress,
            missing_keys=self._missing_keys,
        )
        self._interruptions.performers.append(runner)
        return runner

    def run(self) -> None:
        """Claim and perform until told to stop, or until nothing is left to do."""
        sys.setswitchinterval(SWITCH_INTERVAL)
        have_server_notice_death()
        self._timekeeper.start()
        if self._event_loop is not None:
            self._event_loop.start()
        self._performers.start()
        thread = threading.Thread(target=self._run_loop, name="loop")
        thread.start()
        self._performers.perform()
        thread.join()
        self._performers.close()
        if self._event_loop is not None:
            self._event_loop.close()
        self._timekeeper.stop()
        self._announcer.close(self.options.shutdown_timeout)

    def _run_loop(self) -> None:
        try:
            use_own_connection(self.options.database)
            self._loop.run()
            self.state.note_end(End.WORN_OUT if self._is_worn_out else End.DONE)
        except Error:
            self.state.note_end(End.WITHOUT_DATABASE)
            raise
        finally:
            connections.close_all()
            # The main thread waits for it, and ends the process.
            self._in_flight.close(self.options.threads)

    def loop_ticked(self, performed: int, in_flight: int, suspects_seen_at: float) -> None:
        """Write the state of the loop, and obey the supervisor."""
        self.state.tick(performed, in_flight)
        self.state.suspects_seen_at = suspects_seen_at
        self._write_stacks()
        if self.state.is_to_stop:
            self.stop_event.set()
        elif os.getppid() != self.supervisor:
            self._end_as_orphan()

    def note_database(self, is_at_it: bool) -> None:
        """Tell the supervisor: a process that waits for the database isn't stuck."""
        self.state.note_database(is_at_it)

    def _write_stacks(self, *_: object) -> None:
        """Write all threads' stacks, if they were asked for: the loop does, or the main thread."""
        if self.state.stacks_requested:
            self.state.stacks_written()
            faulthandler.dump_traceback(all_threads=True)

    def is_worn_out(self, performed: int) -> bool:
        """Return True if a fresh child is to take over."""
        options = self.options
        if options.max_performs is not None and performed >= options.max_performs:
            self._is_worn_out = True
        if options.max_seconds is not None and now() - self._started_at >= options.max_seconds:
            self._is_worn_out = True
        if options.max_memory_mb is not None and now() >= self._next_weighing:
            self._next_weighing = now() + MEMORY_INTERVAL
            self._is_worn_out |= resident_bytes() >= options.max_memory_mb * 2**20
        return self._is_worn_out

    def _end_without_blame(self) -> None:
        """End at once, by a fault of the process itself: what it has begun isn't counted for it."""
        self.state.note_end(End.FAULTY)
        os._exit(CRASHED)

    def _end_as_orphan(self) -> None:
        """Stop, and exit at the end of the lease, which nothing renews any more."""
        self.stop_event.set()
        if now() >= self.state.holds_until:
            os._exit(CRASHED)

    def _listen_to_signals(self) -> None:
        # Requests stand in shared memory; a signal only wakes the loop, whose thread is never
        # the one that handles it: the interpreter writes to the wake pipe from C.
        ignore(signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        reset_in_forks()
        signal.set_wakeup_fd(self.stop_event.wake_pipe.fd, warn_on_full_buffer=False)
        signal.signal(signal.SIGUSR1, self._write_stacks)
        faulthandler.register(LAST_RESORT, all_threads=True, chain=False)
        die_with_parent(signal.SIGTERM)

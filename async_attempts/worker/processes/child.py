"""The life of one child process: it claims, performs and records for itself."""

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

from ...conf import settings
from ...store import store_for
from ..execution.announcer import InThreads
from ..execution.missing_keys import MissingKeys
from ..execution.runner import Runner
from ..execution.timeouts import AlarmWatch, ThreadWatch, Timekeeper, Watch
from ..executors.event_loop import EventLoop
from ..executors.threads import Threads
from ..loop.claim_loop import Loop
from ..loop.in_flight import InFlight
from ..loop.poller import Poller
from ..loop.wakeup import WakeUp
from ..shared.connections import have_server_notice_death, use_own_connection
from ..shared.options import Options
from ..shared.orphans import die_with_parent
from ..shared.registration import ChildRegistrar
from ..shared.shared_memory import ChildState, End, now
from ..shared.stop_event import StopEvent
from .inherited_signals import ignore, reset_in_forks

CRASHED: Final = 1

SWITCH_INTERVAL: Final = 0.001
"""Seconds: the loop's thread needs the interpreter often, and each time for a moment only."""

MEMORY_INTERVAL: Final = 1.0

LAST_RESORT: Final = signal.SIGUSR2
"""Has the stacks written without the interpreter's lock. While other threads run, that crashes the
process every few times: for one in which no thread can.
"""


def run_child(options: Options, state: ChildState, supervisor: int) -> int:
    """Be a child until told to stop, or until nothing is left to do; returns the exit code.

    The page says how it ended.
    """
    Child(options, state, supervisor).run()
    return 0 if state.end in (End.DONE, End.WORN_OUT) else CRASHED


def resident_bytes() -> int:
    """The memory that this process has in use now (proc_pid_statm(5)); 0 where that isn't told."""
    try:
        states = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0
    return states * resource.getpagesize()


class Child:
    """Its main thread performs, and its loop has a thread of its own."""

    def __init__(self, options: Options, state: ChildState, supervisor: int) -> None:
        self.options = options
        self.state = state
        self.supervisor = supervisor
        self.stop_event = StopEvent()
        self._started_at = now()
        self._next_weighing = 0.0
        self._is_worn_out = False
        self._listen_to_signals()

    def run(self) -> None:
        sys.setswitchinterval(SWITCH_INTERVAL)
        have_server_notice_death()
        options, store = self.options, store_for(self.options.database)
        announcer = InThreads()
        in_flight = InFlight(store, self.state.recorded, announcer)
        registrar = ChildRegistrar(store, options, self.state)
        timekeeper = Timekeeper()
        timekeeper.start()
        event_loop = None
        if options.async_tasks:
            event_loop = EventLoop(
                options.async_tasks,
                in_flight.ended,
                registrar,
                self.state,
                in_flight.progress.say,
                lost=self._end_without_blame,
            )
            in_flight.async_executor = event_loop

        missing_keys = MissingKeys(self.state.count_missing_key)

        def runner() -> Runner:
            is_main = threading.current_thread() is threading.main_thread()
            watch: Watch = (AlarmWatch if is_main else ThreadWatch)(timekeeper)
            return Runner(
                store,
                registrar,
                watch,
                self.state,
                async_executor=event_loop,
                progress=in_flight.progress,
                missing_keys=missing_keys,
            )

        performers = Threads(
            in_flight, runner, self.stop_event.wake_pipe, options.threads, event_loop
        )
        wakeup = None
        if not options.exits_when_done:
            wakeup = WakeUp(store, options.poll_interval or settings().POLL_INTERVAL)
        poller = Poller(store, options.queues, wakeup, missing_keys)
        loop = Loop(
            options,
            in_flight,
            executor=performers,
            poller=poller,
            stop_event=self.stop_event,
            observer=self,
        )

        def go_round() -> None:
            try:
                use_own_connection(options.database)
                loop.run(registrar)
                self.state.note_end(End.WORN_OUT if self._is_worn_out else End.DONE)
            except Error:
                self.state.note_end(End.WITHOUT_DATABASE)
                raise
            finally:
                connections.close_all()
                # The main thread waits for it, and ends the process.
                in_flight.close(options.threads)

        thread = threading.Thread(target=go_round, name="loop")
        thread.start()
        performers.perform()
        thread.join()
        performers.close()
        if event_loop is not None:
            event_loop.close()
        timekeeper.stop()
        announcer.close(options.shutdown_timeout)

    def loop_ticked(self, performed: int, in_flight: int, suspects_wait: bool) -> None:
        """Tell the supervisor, and hear what it wants."""
        self.state.tick(performed, in_flight)
        self.state.note_suspects(suspects_wait)
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
        """Whether to make room for a fresh child."""
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
        """End as told to stop; what takes longer than the lease, which nobody renews, is cut."""
        self.stop_event.set()
        if now() >= self.state.holds_until:
            os._exit(CRASHED)

    def _listen_to_signals(self) -> None:
        # What is asked stands on the page; a signal only wakes the loop, whose thread is never
        # the one that hears it: the interpreter writes to the bell from C.
        ignore(signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        reset_in_forks()
        signal.set_wakeup_fd(self.stop_event.wake_pipe.fd, warn_on_full_buffer=False)
        signal.signal(signal.SIGUSR1, self._write_stacks)
        faulthandler.register(LAST_RESORT, all_threads=True, chain=False)
        die_with_parent(signal.SIGTERM)

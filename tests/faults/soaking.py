"""What a soak does: enqueue, kill, restart, measure, and judge."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from django.db import Error, connections, transaction

from async_attempts import call
from tests.databases import LIVE
from tests.faults.fleet import QUICK, all_have_ended, kill_child, rows
from tests.faults.ledger import Book
from tests.faults.measures import Measures
from tests.faults.server import Server
from tests.shop import hazards
from tests.worker.processes import WorkerProcess, Workers

LEASE: Final = 5.0
TICK: Final = 0.05
CALLERS: Final = 4
ROLLED_BACK: Final = 0.1
DRAINING: Final = 300.0
"""Seconds within which all that is left when the callers have stopped must have ended."""


class Soaking:
    """One soak on one database of its own."""

    def __init__(self, alias: str, server: Server, directory: Path, options: Any) -> None:
        self.alias = alias
        self.server = server
        self.book = Book(alias, directory)
        self.options = options
        self.chosen = random.Random(options.seed)
        self.done: Counter[str] = Counter()
        self.measures = Measures(server.settings)
        self.is_drained = False
        self._over = threading.Event()
        environment = os.environ | {LIVE: json.dumps({"default": self._settings()}, default=str)}
        self._workers = Workers(environment, directory)
        self._workers.settings = {"LEASE": LEASE, "MAX_CRASHES": 1_000_000}
        self._workers.databases = {alias: self._settings()}
        self._alive: list[WorkerProcess] = []

    def run(self) -> None:
        self._alive = [self._new_worker() for _ in range(self.options.workers)]
        callers = [threading.Thread(target=self._enqueue, args=(n,)) for n in range(CALLERS)]
        for caller in callers:
            caller.start()
        try:
            self._injure()
        finally:
            self._over.set()
            for caller in callers:
                caller.join()
        self._drain()

    def kill_all(self) -> None:
        for worker in self._workers.started:
            worker.kill_group()

    @property
    def is_clean(self) -> bool:
        return self.is_drained and self.book.verdict().is_clean and not self.measures.complaints()

    def report(self) -> str:
        promised = self.book.promises
        parts = [
            f"seed {self.options.seed}",
            f"committed {len(promised.all)}, rolled back {len(promised.undone)}",
            ", ".join(f"{name} {number}" for name, number in sorted(self.done.items())),
            "" if self.is_drained else "NOT drained in time",
            str(self.book.verdict()),
            self.measures.report(),
            *self.measures.complaints(),
        ]
        return "\n".join(part for part in parts if part)

    # --- callers ------------------------------------------------------------------------------

    def _enqueue(self, number: int) -> None:
        """Transactions at the rate; what the fall of the database left open is asked for."""
        chosen = random.Random(self.options.seed + 1 + number)
        began, enqueued = time.monotonic(), 0
        while not self._over.wait(TICK):
            behind = int((time.monotonic() - began) * self.options.rate / CALLERS) - enqueued
            for _ in range(min(behind, 100)):
                enqueued += self._transaction(chosen)
        connections.close_all()

    def _transaction(self, chosen: random.Random) -> int:
        kind = chosen.choices(("leased", "async", "atomic", "failing", "hopeless"), (5, 2, 3, 1, 1))
        attempt, atomic, end = self._promise(kind[0])
        is_undone = chosen.random() < ROLLED_BACK
        row = attempt.attempt()
        try:
            with transaction.atomic(self.alias):
                row.save(using=self.alias)
                transaction.set_rollback(is_undone, self.alias)
        except Error:
            connections[self.alias].close()
            self._ask_for(row.pk, atomic, end)
        else:
            if is_undone:
                self.book.promises.undone.add(row.pk)
            else:
                self.book.promise([row], atomic=atomic, end=end)
        return 1

    def _promise(self, kind: str) -> tuple[Any, bool, str]:
        path = self.book.path
        target: Any
        match kind:
            case "atomic":
                target, end = call(hazards.leave_row, self.alias), "succeeded"
            case "async":
                target, end = call(hazards.leave_traces_asynchronously, path, 0.01), "succeeded"
            case "failing":
                target, end = call(hazards.fail_at_first, path), "succeeded"
            case "hopeless":
                target, end = call(hazards.always_fail, path), "failed"
            case _:
                target, end = call(hazards.leave_traces, path), "succeeded"
        keep_result = kind in {"leased", "async"} and self.done["kept"] % 4 == 0
        self.done["kept"] += 1
        return target.using(database=self.alias, keep_result=keep_result), kind == "atomic", end

    def _ask_for(self, pk: Any, atomic: bool, end: str) -> None:
        """Whether a transaction whose end is unknown was committed: the database says."""
        while True:
            try:
                found = list(rows(self.alias).filter(pk=pk))
            except Error:
                connections[self.alias].close()
                time.sleep(TICK)
            else:
                self.book.promise(found, atomic=atomic, end=end)
                self.done["unknown commits"] += 1
                return

    # --- faults -------------------------------------------------------------------------------

    def _injure(self) -> None:
        """Until the time is over, something dies now and then."""
        end = time.monotonic() + self.options.minutes * 60
        middle = time.monotonic() + self.options.minutes * 30
        next_kill = time.monotonic() + self.options.kill_every
        while (now := time.monotonic()) < end:
            time.sleep(TICK)
            self._see_to_workers()
            self.measures.take(self._alive)
            if now >= next_kill:
                next_kill = now + self.chosen.uniform(0.5, 1.5) * self.options.kill_every
                self._hurt(self.chosen.randrange(len(self._alive)))
            if now >= middle:
                middle = end + 1
                self._restart_database()

    def _hurt(self, number: int) -> None:
        worker = self._alive[number]
        how = self.chosen.choice(("child", "child", "supervisor", "group", "freeze"))
        self.done[f"{how}s hurt"] += 1
        with suppress(ProcessLookupError):
            if how == "child" and worker.children():
                kill_child(worker, self.chosen.randrange(len(worker.children())))
            elif how == "supervisor":
                worker.kill()
            elif how == "group":
                worker.kill_group()
            elif how == "freeze":
                worker.freeze_group()
                thaw = threading.Timer(self.chosen.uniform(0.5, 2 * LEASE), worker.thaw_group)
                thaw.daemon = True
                thaw.start()

    def _see_to_workers(self) -> None:
        """As whoever supervises the supervisors does: another one for each that has ended."""
        for number, worker in enumerate(self._alive):
            if worker.has_ended:
                self.done["workers started again"] += 1
                self._alive[number] = self._new_worker()

    def _restart_database(self) -> None:
        self.done["database restarts"] += 1
        self.server.stop()
        time.sleep(2)
        self.server.start()

    # --- the end ------------------------------------------------------------------------------

    def _drain(self) -> None:
        for worker in self._alive:
            worker.thaw_group()
        deadline = time.monotonic() + DRAINING
        connections[self.alias].close()
        while not self.is_drained and time.monotonic() < deadline:
            time.sleep(1)
            self._see_to_workers()
            self.measures.take(self._alive)
            self.is_drained = all_have_ended(self.alias)
        for worker in self._alive:
            worker.signal(signal.SIGTERM)
        for worker in self._alive:
            self.done[f"exit code {worker.exit_code()}"] += 1
        self.measures.take_last(self.alias)

    def _new_worker(self) -> WorkerProcess:
        arguments = ["--skip-checks", "--processes=2", "--threads=4", "--verbosity=0"]
        return self._workers.start(QUICK, f"--database={self.alias}", *arguments)

    def _settings(self) -> dict[str, Any]:
        return dict(connections[self.alias].settings_dict)

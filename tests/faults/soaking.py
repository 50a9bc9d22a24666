"""What a soak does: enqueue, kill, restart, measure, and judge."""

from __future__ import annotations

import json
import math
import os
import random
import signal
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.db import Error, connections, transaction

from async_attempts import call
from async_attempts.models import Failure
from tests.databases import LIVE
from tests.faults.fleet import QUICK, all_have_ended, kill_child, rows
from tests.faults.ledger import Book, repeated
from tests.faults.measures import Measures
from tests.faults.open_transactions import OpenTransactions
from tests.faults.server import Server
from tests.shop import hazards
from tests.worker.helpers.processes import WorkerProcess, Workers

LEASE: Final = 5.0
TICK: Final = 0.05
CALLERS: Final = 4
ROLLED_BACK: Final = 0.1
SLOW: Final = 2.0
"""Seconds of the targets that are long enough to be touched while they run."""

UNNOTICED: Final = LEASE * 0.6
"""Seconds for which a process may stand still, and nobody takes it for dead: a lease is renewed
when a third of it is over.
"""

GOING_ON: Final = 1.0
"""Seconds within which a process that stood still is at what it was about to do."""

DRAINING: Final = 300.0
"""Seconds within which all that is left when the callers have stopped must have ended."""


class Frozen(NamedTuple):
    """A worker that stands still until then, when it goes on or is killed."""

    worker: WorkerProcess
    pids: list[int]
    until: float
    is_killed: bool


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
        self.hurt: dict[int, float] = {}
        """The processes that were killed or frozen, and until when that explains a repetition."""

        self._failing: set[UUID] = set()
        self._frozen: list[Frozen] = []
        self._over = threading.Event()
        self._open = OpenTransactions(alias, options.seed + 100, self.done)
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
        self._open.start()
        try:
            self._injure()
        finally:
            self._over.set()
            self._open.end()
            for caller in callers:
                caller.join()
        self._drain()
        self._take_what_was_expired()

    def kill_all(self) -> None:
        for worker in self._workers.started:
            worker.kill_group()

    @property
    def is_clean(self) -> bool:
        return (
            self.is_drained
            and self.book.verdict().is_clean
            and not self._repeated()
            and not self.measures.complaints()
        )

    def report(self) -> str:
        promised, again = self.book.promises, self._repeated()
        parts = [
            f"seed {self.options.seed}",
            f"committed {len(promised.all)}, rolled back {len(promised.undone)}",
            ", ".join(f"{name} {number}" for name, number in sorted(self.done.items())),
            "" if self.is_drained else "NOT drained in time",
            str(self.book.verdict()),
            f"repeated {len(again)}" + "".join(f"\n    {one}" for one in again[:9]),
            f"failures recorded: {self._kinds_of_failures()}",
            self.measures.report(),
            *self.measures.complaints(),
        ]
        return "\n".join(part for part in parts if part)

    def _repeated(self) -> list[str]:
        return repeated(self.book.traces(), self.hurt, self._failing)

    def _kinds_of_failures(self) -> str:
        kinds = Failure.objects.using(self.alias).values_list("kind", flat=True)
        return ", ".join(f"{kind} {number}" for kind, number in sorted(Counter(kinds).items()))

    def _take_what_was_expired(self) -> None:
        """Of what callers have touched, some was to be expired."""
        expired = rows(self.alias).filter(pk__in=self._open.touched, status="expired")
        self.book.promise(expired.filter(pk__in=self.book.promises.leased), end="expired")
        self.book.promise(
            expired.filter(pk__in=self.book.promises.atomic), atomic=True, end="expired"
        )

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
        kinds = {"leased": 50, "async": 20, "atomic": 30, "failing": 10, "hopeless": 10, "slow": 1}
        [kind] = chosen.choices([*kinds], [*kinds.values()])
        attempt, atomic, end = self._promise(kind)
        is_undone = chosen.random() < ROLLED_BACK
        row = attempt.attempt()
        if kind in {"failing", "hopeless"}:
            self._failing.add(row.pk)
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
            case "slow":
                target, end = call(hazards.leave_traces, path, SLOW), "succeeded"
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
            self._see_to_frozen()
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
        if any(frozen.worker is worker for frozen in self._frozen):
            return
        how = self.chosen.choice(("child", "child", "supervisor", "group", "freeze", "freeze"))
        self.done[f"{how}s hurt"] += 1
        with suppress(ProcessLookupError):
            if how == "child" and worker.children():
                number = self.chosen.randrange(len(worker.children()))
                self.hurt[kill_child(worker, number)] = math.inf
            elif how == "supervisor":
                self.hurt |= dict.fromkeys(worker.group(), math.inf)
                worker.kill()
            elif how == "group":
                self._freeze(worker, 0.0, is_killed=True)
            elif how == "freeze":
                seconds = self.chosen.uniform(0.5, 3 * LEASE)
                self._freeze(worker, seconds, is_killed=self.chosen.random() < 0.5)

    def _freeze(self, worker: WorkerProcess, seconds: float, *, is_killed: bool) -> None:
        """As a host that stands still, with what its processes are doing."""
        worker.freeze_group()
        is_noticed = is_killed or seconds > UNNOTICED
        pids = worker.group() if is_noticed else []
        self.hurt |= dict.fromkeys(pids, math.inf)
        self._frozen.append(Frozen(worker, pids, time.monotonic() + seconds, is_killed))

    def _see_to_frozen(self) -> None:
        now = time.monotonic()
        for frozen in [one for one in self._frozen if one.until <= now]:
            self._frozen.remove(frozen)
            if frozen.is_killed:
                frozen.worker.kill_group()
            else:
                frozen.worker.thaw_group()
                # What was about to be begun is; the rest only under a lease that holds.
                self.hurt |= dict.fromkeys(frozen.pids, now + GOING_ON)

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

"""Where the microseconds of one execution go: `python -m benchmarks.anatomy`.

Each step of a child's main thread is timed by itself, hot, over many attempts with encrypted
arguments; processor time, so that what else the machine does hardly matters. The database's part
is not in it: see the drain for that.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextvars import copy_context
from datetime import UTC, datetime
from statistics import median
from time import process_time
from typing import Any, Final
from uuid import uuid4

ATTEMPTS: Final = 5_000
ROUNDS: Final = 9


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "benchmarks.settings")
    import django

    django.setup()
    from .machine import machine

    lines = [f"- {name}: {value}" for name, value in machine().items()]
    lines += ["", "| step | µs |", "|---|---:|"]
    for step, micros in anatomy().items():
        lines.append(f"| {step} | {micros:.2f} |")
    print("\n".join(lines))


def anatomy() -> dict[str, float]:
    """Microseconds for each step, medians over the rounds."""
    from async_attempts.encryption import cipher
    from async_attempts.payload import load_arguments
    from async_attempts.store import Claim
    from async_attempts.targets import TargetName, resolve
    from async_attempts.worker.execution.connection_cleanup import Connections
    from async_attempts.worker.execution.outcomes import SUCCEEDED
    from async_attempts.worker.execution.runner import Execution, Runner
    from async_attempts.worker.execution.timeouts import AlarmWatch, Deadline
    from async_attempts.worker.loop.in_flight import InFlight
    from async_attempts.worker.shared.shared_memory import ChildState, now

    from .attempts import arguments_of, fulfill

    claims = claimed()
    child_state, watch, connections = ChildState(ATTEMPTS + 1), AlarmWatch(), Connections()
    child_state.holds_until = now() + 1e9
    plain = [cipher().decrypt(claim.args, claim.context("args")) for claim in claims]
    silent: Any = Silent()
    in_flight = InFlight(silent, recorded=child_state.recorded)
    runner = Runner(in_flight.store, child_state, watch, child_state)

    def noted(claim: Claim) -> None:
        place = child_state.begin(claim.id_bytes, claim.claim_seq, now())
        if place is not None:
            child_state.move(place, now())
            child_state.move(place, 0.0)
            child_state.recorded(place)

    def watched(claim: Claim) -> None:
        watch.begin(Deadline(now() + 300))
        watch.end()

    def resolved(claim: Claim) -> None:
        resolve(TargetName(claim.target, claim.target_pk, claim.method_name), claim.database)

    def handed(claim: Claim) -> None:
        in_flight.take((claim,))
        in_flight.ended(Execution(in_flight.next_at_once() or claim, SUCCEEDED))

    def performed(claim: Claim) -> None:
        execution = runner.perform(claim)
        if execution is not None and execution.offset is not None:
            child_state.recorded(execution.offset)

    arguments = arguments_of(1)
    steps: dict[str, Callable[[Any], object]] = {
        "the loop and the call of an empty function": lambda _claim: None,
        "authenticate and decrypt": lambda claim: cipher().decrypt(
            claim.args, claim.context("args")
        ),
        "find the target": resolved,
        "a context of its own": lambda _claim: copy_context().run(int),
        "watch the timeout": watched,
        "note in shared memory: begun, its deadline, ended, recorded": noted,
        "look at the connections": lambda _claim: connections.are_clean(),
        "call the target": lambda _claim: fulfill(**arguments),
        "into the hand and out of it": handed,
    }
    found = {name: timed(step, claims) for name, step in steps.items()}
    found["parse the arguments"] = timed(load_arguments, plain)
    found["**perform, all in all**"] = timed(performed, claims)
    watch.close()
    return found


class Silent:
    """A store that is asked for nothing."""

    times_closed = 0


def claimed() -> list[Any]:
    """Claims as the database would give them."""
    from async_attempts.models.new_rows import complete
    from async_attempts.models.sealing import seal
    from async_attempts.store import Claim

    from .attempts import call_of

    worker, moment = uuid4(), datetime.now(UTC)
    made = []
    for number in range(ATTEMPTS):
        attempt = call_of(number).attempt()
        attempt._state.db = "default"
        complete(attempt)
        seal(attempt)
        name = (attempt.target, None, attempt.method_name)
        row = (attempt.pk.bytes, attempt.queue, *name, bytes(attempt.args), None, 1, None, 0, 1)
        made.append(
            Claim._make((*row, None, False, "", "{}", None, moment, worker, "default", 0.0, 0.0))
        )
    return made


def timed(step: Callable[[Any], object], over: list[Any]) -> float:
    """Microseconds of processor time that `step` takes for one of `over`."""
    rounds = []
    for _ in range(ROUNDS):
        began = process_time()
        for one in over:
            step(one)
        rounds.append((process_time() - began) / len(over) * 1e6)
    return median(rounds)


if __name__ == "__main__":
    main()

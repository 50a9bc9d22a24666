"""Targets whose effects a test sees: in its own process, in a table, or in a file that survives
the death of the process.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.db import connections

from async_attempts import Backoff, attemptable, current_attempt
from tests.shop.models import Ledger, Order

seen: list[tuple[Any, ...]] = []
"""What the targets of `Recorder` were called with, in this process."""


def nothing(*args: Any, **kwargs: Any) -> None:
    """An action without effects."""


action: Callable[..., Any] = nothing
"""What the targets named `act…` do: a test puts its own function here."""


@attemptable
def act(*args: Any, **kwargs: Any) -> Any:
    return action(*args, **kwargs)


@attemptable
def fail_at_once() -> None:
    raise ValueError("at once")


@attemptable(queue="emails")
def act_by_mail(*args: Any, **kwargs: Any) -> Any:
    return action(*args, **kwargs)


@attemptable(backoff=Backoff.fixed(0, max_attempts=3))
def act_thrice(*args: Any, **kwargs: Any) -> Any:
    return action(*args, **kwargs)


@attemptable(backoff=Backoff.fixed(0, retry_on=(OSError,), give_up_on=(FileNotFoundError,)))
def act_choosily(*args: Any, **kwargs: Any) -> Any:
    return action(*args, **kwargs)


@attemptable(atomic=True)
def act_atomically(*args: Any, **kwargs: Any) -> Any:
    return action(*args, **kwargs)


@attemptable(timeout=7)
async def act_asynchronously(*args: Any, **kwargs: Any) -> Any:
    return await action(*args, **kwargs)


@attemptable
def record(*args: Any, **kwargs: Any) -> None:
    seen.append(("function", args, kwargs))


@attemptable
async def record_async(*args: Any, **kwargs: Any) -> None:
    seen.append(("async function", args, kwargs))


class Recorder:
    @staticmethod
    @attemptable
    def static(*args: Any, **kwargs: Any) -> None:
        seen.append(("static", args, kwargs))

    @staticmethod
    @attemptable
    async def static_async(*args: Any, **kwargs: Any) -> None:
        seen.append(("async static", args, kwargs))

    @classmethod
    @attemptable
    def of_class(cls, *args: Any, **kwargs: Any) -> None:
        seen.append((cls.__name__, args, kwargs))


class RecorderHeir(Recorder):
    """Inherits its targets."""


class RecordedOrder(Order):
    class Meta:
        app_label = "shop"
        proxy = True

    @attemptable
    def of_instance(self, *args: Any, **kwargs: Any) -> None:
        seen.append((f"order {self.number}", args, kwargs))

    @attemptable
    async def of_instance_async(self, *args: Any, **kwargs: Any) -> None:
        seen.append((f"async order {self.number}", args, kwargs))

    @classmethod
    @attemptable
    def of_model(cls, *args: Any, **kwargs: Any) -> None:
        seen.append((f"model {cls.__name__}", args, kwargs))


@attemptable
def write(path: str) -> None:
    """Leaves a line in the file at `path`, on the disk when this returns."""
    write_line(path)


@attemptable(backoff=Backoff.fixed(0))
def write_slowly(path: str, seconds: float) -> None:
    time.sleep(seconds)
    write_line(path)


@attemptable(atomic=True, backoff=Backoff.fixed(0))
def write_row(database: str) -> None:
    write_ledger(database)


@attemptable(atomic=True, backoff=Backoff.fixed(0))
def write_row_slowly(database: str, seconds: float) -> None:
    write_ledger(database)
    time.sleep(seconds)


@attemptable
def write_session_settings(database: str, path: str) -> None:
    """What this target's session was told about a silent client."""
    with connections[database].cursor() as cursor:
        cursor.execute(
            "SELECT name FROM pg_settings WHERE source = 'session' AND name LIKE 'tcp%' "
            "ORDER BY name"
        )
        Path(path).write_text(" ".join(name for (name,) in cursor.fetchall()))


@attemptable
def write_and_die(path: str, until_claim: int) -> None:
    """Kills its process up to the claim number `until_claim`."""
    write_line(path)
    if current_attempt().claim_seq <= until_claim:
        os.kill(os.getpid(), signal.SIGKILL)


@attemptable(atomic=True)
def write_row_and_die_once(database: str, path: str) -> None:
    write_ledger(database)
    write_line(path)
    if current_attempt().claim_seq == 1:
        os._exit(1)


@attemptable
def wait_for(began: str, go: str) -> None:
    """Its first execution makes the file `began` and lasts until the file `go` is there."""
    write_line(began)
    while current_attempt().claim_seq == 1 and not Path(go).exists():
        time.sleep(0.01)


def write_line(path: str) -> None:
    attempt = current_attempt()
    line = f"{attempt.id} {attempt.claim_seq} {attempt.num_attempts} {os.getpid()}\n"
    descriptor = os.open(path, os.O_APPEND | os.O_CREAT | os.O_WRONLY)
    try:
        os.write(descriptor, line.encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_ledger(database: str) -> None:
    attempt = current_attempt()
    Ledger.objects.using(database).create(attempt_id=attempt.id, claim_seq=attempt.claim_seq)


@attemptable
def wait_and_die(began: str, go: str) -> None:
    """As `wait_for`, and then kills its process; only its first execution waits."""
    write_line(began)
    while current_attempt().claim_seq == 1 and not Path(go).exists():
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)


@attemptable
def say_and_wait(go: str, note: str) -> None:
    """Says that it has begun, waits until the file `go` is there, and says that it has ended."""
    current_attempt().set_progress(10, note)
    while not Path(go).exists():
        time.sleep(0.01)
    current_attempt().set_progress(100, note)


@attemptable
async def say_and_wait_async(go: str, note: str) -> None:
    current_attempt().set_progress(10, note)
    while not Path(go).exists():  # noqa: ASYNC110, ASYNC240 a file is what another process can make
        await asyncio.sleep(0.01)
    current_attempt().set_progress(100, note)

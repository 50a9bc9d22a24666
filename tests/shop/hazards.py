"""Targets that leave traces for a ledger, and targets that are a danger to their process.

A trace is a line `id claim_seq num_attempts pid seconds word` in a file: appended, so that it
survives the death of the process; the seconds are of the machine's monotonic clock.
"""

from __future__ import annotations

import asyncio
import ctypes
import faulthandler
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from asgiref.sync import sync_to_async
from django.db import connections

from async_attempts import Backoff, attemptable, current_attempt
from async_attempts.models import get_attempt_model
from tests.shop.effects import write_ledger

AT_ONCE: Final = Backoff.fixed(0)


@attemptable(backoff=AT_ONCE)
def leave_traces(path: str, seconds: float = 0) -> int:
    """Returns the number of the claim, to be kept: whose outcome was accepted can be seen."""
    trace(path, "begun")
    time.sleep(seconds)
    trace(path, "ended")
    return current_attempt().claim_seq


@attemptable(backoff=AT_ONCE)
async def leave_traces_asynchronously(path: str, seconds: float = 0) -> int:
    trace(path, "begun")
    await asyncio.sleep(seconds)
    trace(path, "ended")
    return current_attempt().claim_seq


@attemptable(atomic=True, backoff=AT_ONCE)
def leave_row(database: str, seconds: float = 0) -> None:
    write_ledger(database)
    time.sleep(seconds)


@attemptable(backoff=AT_ONCE)
def fail_at_first(path: str, seconds: float = 0) -> int:
    """Raises in its first counted execution."""
    trace(path, "begun")
    time.sleep(seconds)
    if is_first():
        raise OSError("not yet")
    trace(path, "ended")
    return current_attempt().claim_seq


@attemptable(backoff=Backoff.fixed(0, max_attempts=2))
def always_fail(path: str) -> None:
    trace(path, "begun")
    raise OSError("never")


@attemptable(backoff=AT_ONCE)
def tell_what_others_see(database: str, path: str) -> None:
    """Traces the `num_attempts` that another connection sees while this is performed."""
    attempt_id = current_attempt().id
    seen: list[int] = []

    def look() -> None:
        rows = get_attempt_model()._base_manager.using(database)
        try:
            seen.append(rows.values_list("num_attempts", flat=True).get(pk=attempt_id))
        finally:
            connections.close_all()

    other = threading.Thread(target=look)
    other.start()
    other.join()
    trace(path, str(seen[0]))


@attemptable(atomic=True, backoff=AT_ONCE)
def tell_what_others_see_atomically(database: str, path: str) -> None:
    tell_what_others_see(database, path)


@attemptable(backoff=AT_ONCE)
def wait_at_first(path: str, go: str) -> int:
    """Its first counted execution lasts until the file `go` is there."""
    trace(path, "begun")
    while is_first() and not Path(go).exists():
        time.sleep(0.01)
    trace(path, "ended")
    return current_attempt().claim_seq


def die_by_exit() -> None:
    os._exit(0)


def die_by_segfault() -> None:
    # Python would write a report of many lines into the log.
    faulthandler.disable()
    ctypes.string_at(0)


def die_as_if_out_of_memory() -> None:
    """As the kernel kills the one process that has grown too large."""
    os.kill(os.getpid(), signal.SIGKILL)


def die_with_the_whole_group() -> None:
    """As the kernel kills a whole control group that has grown too large."""
    os.killpg(os.getpgrp(), signal.SIGKILL)


DEATHS: Final[dict[str, Callable[[], None]]] = {
    "exit": die_by_exit,
    "segfault": die_by_segfault,
    "out of memory": die_as_if_out_of_memory,
    "group": die_with_the_whole_group,
}


@attemptable(backoff=AT_ONCE)
def die(path: str, how: str, at_most: int = sys.maxsize) -> int:
    """Ends its process in one of the ways of `DEATHS`, so many times."""
    trace(path, "begun")
    if current_attempt().num_attempts <= at_most:
        DEATHS[how]()
    trace(path, "ended")
    return current_attempt().claim_seq


@attemptable(atomic=True, backoff=AT_ONCE)
def leave_row_and_die(database: str, path: str, how: str, at_most: int) -> None:
    write_ledger(database)
    die(path, how, at_most)


@attemptable(backoff=Backoff.fixed(0, max_attempts=1))
def exhaust_memory(path: str, limit: int) -> None:
    """Asks for twice the `limit` of bytes that its process may have."""
    import resource

    trace(path, "begun")
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (limit, before[1]))
    try:
        bytearray(2 * limit)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@attemptable(backoff=AT_ONCE)
def compute(path: str, go: str) -> None:
    """Calls and returns, in Python alone, until the file `go` is there."""
    trace(path, "begun")
    while not Path(go).exists():
        fibonacci(12)


def fibonacci(number: int) -> int:
    return number if number < 2 else fibonacci(number - 1) + fibonacci(number - 2)


@attemptable(backoff=AT_ONCE)
def loop(path: str) -> None:
    """Lasts in Python, where an exception can reach it."""
    trace(path, "begun")
    while is_first():
        time.sleep(0.01)


@attemptable(backoff=AT_ONCE)
def loop_and_ignore_everything(path: str) -> None:
    """Goes on whatever is raised inside of it."""
    trace(path, "begun")
    while is_first():
        try:
            while True:
                time.sleep(0.01)
        except BaseException:  # noqa: BLE001, S112 that is the hazard
            continue


@attemptable(backoff=AT_ONCE)
def hang_in_c(path: str) -> None:
    """Neither an exception nor a signal ends this; the process's other threads go on."""
    trace(path, "begun")
    if is_first():
        wait_for_oneself(ctypes.CDLL(None))


@attemptable(backoff=AT_ONCE)
def hang_in_c_and_starve_all(path: str) -> None:
    """Keeps the interpreter's lock, too: nothing in its process goes on."""
    first, library = is_first(), ctypes.PyDLL(None)
    # Who reads this may look at the stacks at once.
    trace(path, "begun")
    if first:
        wait_for_oneself(library)


def wait_for_oneself(library: Any) -> None:
    """Lock a mutex that the thread holds already; a signal doesn't end that, as it does a sleep."""
    mutex = ctypes.create_string_buffer(128)
    library.pthread_mutex_lock(mutex)
    library.pthread_mutex_lock(mutex)


@attemptable(backoff=AT_ONCE)
def starve_all(path: str, seconds: int) -> int:
    """Keeps the interpreter's lock for so long, as a regular expression without an end would."""
    trace(path, "begun")
    ctypes.PyDLL(None).sleep(seconds)
    trace(path, "ended")
    return current_attempt().claim_seq


@attemptable(backoff=AT_ONCE)
async def sleep_asynchronously(path: str) -> None:
    trace(path, "begun")
    if is_first():
        await asyncio.sleep(3600)


@attemptable(backoff=AT_ONCE)
async def ignore_cancellation(path: str) -> None:
    trace(path, "begun")
    while is_first():
        try:
            await asyncio.sleep(3600)
        except BaseException:  # noqa: BLE001, S112 that is the hazard
            continue


@attemptable(backoff=AT_ONCE)
async def block_the_event_loop(path: str) -> None:
    trace(path, "begun")
    if is_first():
        time.sleep(3600)  # noqa: ASYNC251 that is its hazard


@attemptable(backoff=AT_ONCE)
async def block_the_event_loop_again(path: str) -> None:
    trace(path, "begun")
    time.sleep(3600)  # noqa: ASYNC251 that is its hazard


@attemptable(backoff=AT_ONCE)
def match_for_ever(path: str) -> None:
    """Keeps the interpreter's lock by a regular expression without an end."""
    trace(path, "begun")
    re.match(r"(a+)+$", "a" * 60 + "b")


@attemptable(backoff=AT_ONCE)
async def hang_in_the_shared_thread(path: str) -> None:
    """Its call outlives it, and nobody else can use the ORM."""
    trace(path, "begun")
    if is_first():
        await sync_to_async(time.sleep)(3600)


@attemptable(backoff=AT_ONCE)
async def abandon_a_call_in_the_shared_thread(path: str) -> None:
    trace(path, "begun")
    if is_first():
        async with asyncio.timeout(0.1):
            await sync_to_async(time.sleep)(3600)


@attemptable(backoff=AT_ONCE)
async def break_the_event_loop_once(path: str) -> None:
    trace(path, "begun")
    if is_first_in(f"{path}.broken"):
        loop: Any = asyncio.get_running_loop()
        loop._run_once = None
        await asyncio.sleep(3600)


def is_first() -> bool:
    """Whether this is the first execution that counts; a claim may be given back before it."""
    return current_attempt().num_attempts == 1


def is_first_in(path: str) -> bool:
    """Whether nobody has asked this before, whatever counts."""
    try:
        Path(path).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def trace(path: str, word: str) -> None:
    attempt = current_attempt()
    numbers = f"{attempt.claim_seq} {attempt.num_attempts} {os.getpid()} {time.monotonic():.6f}"
    descriptor = os.open(path, os.O_APPEND | os.O_CREAT | os.O_WRONLY)
    try:
        os.write(descriptor, f"{attempt.id} {numbers} {word}\n".encode())
    finally:
        os.close(descriptor)

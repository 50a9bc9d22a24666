"""Targets that run until they are interrupted, each leaving traces; see `hazards`."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from async_attempts import AttemptCancelled, attemptable, current_attempt
from tests.shop.hazards import trace

LONG: Final = 60.0


@attemptable
def work_for_long(path: str) -> None:
    trace(path, "begun")
    until = time.monotonic() + LONG
    while time.monotonic() < until:
        time.sleep(0.01)


@attemptable
async def work_for_long_asynchronously(path: str) -> None:
    trace(path, "begun")
    await asyncio.sleep(LONG)


@attemptable
def tidy_up(path: str) -> None:
    """It notes the reason, and lets itself be interrupted."""
    trace(path, "begun")
    try:
        work_until_interrupted()
    except AttemptCancelled:
        trace(path, "tidied")
        raise


@attemptable
def finish_all_the_same(path: str) -> None:
    trace(path, "begun")
    try:
        work_until_interrupted()
    except AttemptCancelled:
        trace(path, "finished")


@attemptable
def ask_for_more_time(path: str) -> None:
    trace(path, "begun")
    until = time.monotonic() + LONG
    while time.monotonic() < until:
        time.sleep(0.01)
        current_attempt().extend(LONG)


@attemptable
def ignore_it(path: str) -> None:
    trace(path, "begun")
    until = time.monotonic() + LONG
    while time.monotonic() < until:
        try:
            time.sleep(0.01)
        except AttemptCancelled:
            trace(path, "ignored")


def work_until_interrupted() -> None:
    until = time.monotonic() + LONG
    while time.monotonic() < until:
        time.sleep(0.01)

"""The targets that the attempts of the benchmarks call."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Final, TypedDict

from async_attempts import Call, attemptable, call

CALLED: Final = "BENCHMARKS_CALLED"
"""The environment's name for the file in which `note` writes."""

NAP: Final = 0.05
"""Seconds."""


class FulfillArguments(TypedDict):
    customer_token: str
    order_number: int


@attemptable
def fulfill(*, customer_token: str, order_number: int) -> None:
    """Does nothing: what is measured is the way there and back."""


@attemptable
def nap(*, number: int) -> None:
    """Waits as for a remote API."""
    time.sleep(NAP)


@attemptable
async def nap_async(*, number: int) -> None:
    """Waits as for a remote API, and lets others wait meanwhile."""
    await asyncio.sleep(NAP)


@attemptable
def note(*, number: int) -> None:
    """Says when it was called."""
    noted(number)


def noted(number: int) -> None:
    """Append `number` and this moment, in ns of the host's clock, to the file `CALLED`."""
    moment = time.time_ns()
    with Path(os.environ[CALLED]).open("a") as file:
        file.write(f"{number} {moment}\n")


def call_of(order_number: int) -> Call:
    """The call that each contender promises, with arguments of an ordinary size."""
    return call(fulfill, **arguments_of(order_number))


def arguments_of(order_number: int) -> FulfillArguments:
    return {"customer_token": f"token-of-customer-{order_number}", "order_number": order_number}

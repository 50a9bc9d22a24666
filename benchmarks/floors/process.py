"""Raw SQL in a process of its own: `… ALIAS`, then `drain` or `listen` on its standard input."""

from __future__ import annotations

import sys
from itertools import count
from typing import Final
from uuid import uuid4

from ..attempts import noted
from . import floor_on
from .postgresql import PostgreSQLFloor

CHANNEL: Final = "benchmarks_raw"


def listen(alias: str) -> None:
    """Claim what was enqueued whenever a notification comes; note each, in the order of arrival."""
    floor, worker, numbers = PostgreSQLFloor(alias), uuid4(), count()
    floor.driver.execute(f"LISTEN {CHANNEL}")
    print("listening", flush=True)
    while True:
        for _ in floor.driver.notifies(timeout=1, stop_after=1):
            pass
        if claims := floor.claim(worker):
            for _, number in zip(claims, numbers, strict=False):
                noted(number)
            floor.finish(worker, claims)


def main(alias: str) -> None:
    floor = floor_on(alias)
    for line in sys.stdin:
        if line.strip() == "listen":
            listen(alias)
        floor.drain()
        print("drained", flush=True)

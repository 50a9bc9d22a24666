"""How one worker is to run."""

from __future__ import annotations

from dataclasses import dataclass

BATCH_SIZE = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What `run_attempts` was asked for; times in seconds.

    `once`: one claim, then stop. `drain`: stop when nothing is due. `max_attempts`: stop after
    that many executions. `batch_size`: the most that one claim takes.
    """

    database: str
    queues: tuple[str, ...]
    name: str = ""
    once: bool = False
    drain: bool = False
    poll_interval: float = 1.0
    batch_size: int = BATCH_SIZE
    max_attempts: int | None = None

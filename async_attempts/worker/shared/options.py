"""How one worker is to run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

BATCH_SIZE: Final = 500
THREADS: Final = 4
ASYNC_TASKS: Final = 50
SHUTDOWN_TIMEOUT: Final = 25.0

LONGEST_POLL: Final = 5.0
"""Seconds after which an idle worker asks the database at the latest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What `run_attempts` was asked for; times in seconds.

    `once`: one claim, then stop. `drain`: stop when nothing is due. `stop_after`: stop after
    that many executions. `batch_size`: the most that one claim takes. `poll_interval` None: as the
    settings say. `max_performs`, `max_memory_mb` and `max_seconds`: when a child is replaced by a
    fresh one. `health_host` "": all addresses of the machine.
    """

    database: str
    queues: tuple[str, ...]
    name: str = ""
    once: bool = False
    drain: bool = False
    poll_interval: float | None = None
    batch_size: int = BATCH_SIZE
    stop_after: int | None = None
    processes: int = 1
    threads: int = THREADS
    async_tasks: int = ASYNC_TASKS
    shutdown_timeout: float = SHUTDOWN_TIMEOUT
    max_performs: int | None = None
    max_memory_mb: int | None = None
    max_seconds: float | None = None
    health_host: str = ""
    health_port: int | None = None
    reload: bool = False
    suspects_only: bool = False

    @property
    def exits_when_done(self) -> bool:
        """Whether the work ends by itself, and so does the patience with the database."""
        return self.once or self.drain or self.suspects_only

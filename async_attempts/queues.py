"""Pause and resume queues: what workers may claim of, whoever enqueues."""

from __future__ import annotations

from .conf import settings


def pause_queue(name: str, *, database: str = "default") -> None:
    """Let no worker claim of this queue until it is resumed; what runs is left to run.

    Enqueueing goes on. Within a transaction it holds from the commit. `database`: an alias. Raises
    InvalidOption for a queue that isn't declared.
    """
    _set_paused(name, database, paused=True)


def resume_queue(name: str, *, database: str = "default") -> None:
    """Let workers claim of this queue again, even if the settings say that it begins paused.

    Raises InvalidOption for a queue that isn't declared.
    """
    _set_paused(name, database, paused=False)


def _set_paused(name: str, database: str, *, paused: bool) -> None:
    # Late, so that the names can be imported before the models are.
    from .store import store_for

    store_for(database).set_paused(settings().queue(name), paused=paused)

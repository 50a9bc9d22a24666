"""Pause and resume queues."""

from __future__ import annotations

from .conf import settings


def pause_queue(name: str, *, database: str | None = None) -> None:
    """Let no worker claim from this queue until it is resumed; running attempts go on.

    Enqueueing goes on. In a transaction the pause begins with the commit. `database`: an alias, by
    default where attempts go to. Raises InvalidOption for a queue that isn't declared.
    """
    _set_paused(name, database, paused=True)


def resume_queue(name: str, *, database: str | None = None) -> None:
    """Let workers claim from this queue again, even if the settings say that it begins paused.

    `database`: an alias, by default where attempts go to. Raises InvalidOption for a queue that
    isn't declared.
    """
    _set_paused(name, database, paused=False)


def _set_paused(name: str, database: str | None, *, paused: bool) -> None:
    # Late, so that the names can be imported before the models are.
    from .models import home_database
    from .store import store_for

    store_for(database or home_database()).queues.set_paused(settings().queue(name), paused=paused)

"""Pause and resume queues."""

from __future__ import annotations

from django.db import router

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
    from .models import get_attempt_model
    from .store import store_for

    alias = database or settings().DATABASE or router.db_for_write(get_attempt_model())
    store_for(alias).set_paused(settings().queue(name), paused=paused)

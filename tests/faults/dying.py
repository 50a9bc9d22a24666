"""How a worker is killed at a certain moment of its first finish."""

from __future__ import annotations

import os
import signal
from typing import Any

from django.db import transaction

from async_attempts.store import store_for


def die(*args: object, **kwargs: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def before_the_finish(database: str) -> None:
    store = type(store_for(database))
    store.finish = die  # type: ignore[method-assign, assignment]


def before_the_commit(database: str) -> None:
    store = type(store_for(database))
    finish_within = store.finish_within

    def finish_and_die(*args: Any, **kwargs: Any) -> None:
        finish_within(*args, **kwargs)
        die()

    store.finish_within = finish_and_die  # type: ignore[method-assign, assignment]


def after_the_commit(database: str) -> None:
    store = type(store_for(database))
    finish_within = store.finish_within

    def finish_and_die_later(*args: Any, **kwargs: Any) -> Any:
        transaction.on_commit(die, using=database)
        return finish_within(*args, **kwargs)

    store.finish_within = finish_and_die_later  # type: ignore[method-assign]

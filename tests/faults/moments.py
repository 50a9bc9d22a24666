"""The moments of an attempt at which a connection is cut or a process killed, as statements."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from functools import partialmethod
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

CLAIM: Final = r"UPDATE .*claim_seq.? \+ (1|%s)"
FINISH: Final = r"UPDATE .*async_attempts_attempt.*SET .*succeeded"
EFFECT: Final = r"INSERT INTO .shop_ledger"
COMMIT: Final = r"^COMMIT"


class Moment(NamedTuple):
    """Before or after a statement is done, or the commit that follows it."""

    is_atomic: bool
    when: str
    statement: str
    is_at_commit: bool = False

    @property
    def trap(self) -> dict[str, str]:
        """What `Proxy.cut` takes."""
        if self.is_at_commit:
            return {"when": self.when, "pattern": COMMIT, "following": self.statement}
        return {"when": self.when, "pattern": self.statement}


def _moments(is_atomic: bool, **statements: tuple[str, bool]) -> list[Any]:
    mode = "atomic" if is_atomic else "leased"
    return [
        pytest.param(Moment(is_atomic, when, *said), id=f"{mode} {when} {name.replace('_', ' ')}")
        for name, said in statements.items()
        for when in ("before", "after")
    ]


OF_LEASED: Final = _moments(False, claim=(CLAIM, False), finish=(FINISH, False))
OF_ATOMIC: Final = _moments(
    True,
    claim=(CLAIM, False),
    effect=(EFFECT, False),
    finish=(FINISH, False),
    commit=(EFFECT, True),
)
OF_TRANSACTIONS: Final = _moments(
    False, claims_commit=(CLAIM, True), finishes_commit=(FINISH, True)
)
"""Where a worker's moves are transactions; on PostgreSQL most are single statements."""


class Death:
    """Comes at the moment to the first process that gets there."""

    def __init__(self, moment: Moment, once: Path) -> None:
        self.moment = moment
        self.once = once

    def listen(self, connection: Any, **kwargs: Any) -> None:
        """Look at every statement of a new connection."""
        connection.execute_wrappers.append(self.execute)

    def execute(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        said = f"{sql} {params}"
        is_now = re.search(self.moment.statement, said, re.IGNORECASE | re.DOTALL)
        if is_now and self.moment.is_at_commit:
            context["connection"].is_doomed = True
            is_now = None
        if is_now and self.moment.when == "before":
            self.come()
        result = execute(sql, params, many, context)
        if is_now:
            self.come()
        return result

    def commit(self, commit: Callable[[Any], Any], connection: Any) -> Any:
        is_now = getattr(connection, "is_doomed", False)
        if is_now and self.moment.when == "before":
            self.come()
        result = commit(connection)
        if is_now:
            self.come()
        return result

    def come(self) -> None:
        """Once: what comes after it is left alone."""
        try:
            self.once.touch(exist_ok=False)
        except FileExistsError:
            return
        os.kill(os.getpid(), signal.SIGKILL)


def die_at(moment: Moment, once: Path) -> None:
    """Let the first process below this one that comes to the moment kill itself there.

    For SQLite, where no proxy can stand in between.
    """
    death = Death(moment, once)
    connection_created.connect(death.listen, weak=False)
    wrapper: Any = BaseDatabaseWrapper
    wrapper._commit = partialmethod(_commit_or_die, death, wrapper._commit)


def _commit_or_die(connection: Any, death: Death, commit: Callable[[Any], Any]) -> Any:
    return death.commit(commit, connection)

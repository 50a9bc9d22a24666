"""The state of queues as a worker needs it, read by one statement: an idle worker costs little."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any, Final, NamedTuple

from ..conf import limits, settings
from ..models import DatabaseNow
from .database import Database, placeholders
from .dialects.base import Dialect
from .expressions import but_for
from .workers import LATE_SHARE

LOOK: Final = """
SELECT {seconds}, {seconds_to_tick},
    EXISTS (SELECT 1 FROM {attempt} {by_index} WHERE {due} AND num_crashes = 0),
    EXISTS (SELECT 1 FROM {attempt} {by_index} WHERE {due} AND num_crashes > 0),
    EXISTS (SELECT 1 FROM {worker} WHERE state = 'dead' OR (state = 'live' AND {left} < {late})),
    EXISTS (SELECT 1 FROM {attempt} WHERE status = 'waiting' AND blockers = 0 AND limit_key > ''),
    (SELECT {paused} FROM {queue} WHERE is_paused IS NOT NULL)
"""
DUE: Final = "status = 'pending' AND claimed_by IS NULL AND queue IN ({queues}) AND {scheduled_at}"
NEXT: Final = """
(SELECT {until} FROM
    (SELECT MIN(scheduled_at) AS soonest FROM {attempt} WHERE status = 'scheduled') scheduled)
"""
NEXT_TICK: Final = """
(SELECT {until} FROM (SELECT MIN(next_tick) AS soonest FROM {schedule}) ticks)
"""


class QueueState(NamedTuple):
    """The work that there is for a worker.

    `next_due`: seconds until the next scheduled attempt is; None: none. `next_tick`: seconds until
    the next tick of a schedule. `has_late_workers`: True if one is late with its lease, or dead and
    not everything that it held was taken back. `has_waiting`: True if something waits for a slot
    of a limit key. `paused`: the queues that are.
    """

    next_due: float | None
    next_tick: float | None
    has_due: bool
    has_suspects: bool
    has_late_workers: bool
    has_waiting: bool = False
    paused: frozenset[str] = frozenset()


class QueueStates:
    """Reads what there is to do."""

    def __init__(self, database: Database, dialect: Dialect) -> None:
        self.database = database
        self.dialect = dialect

    def look(self, queues: Sequence[str], passed_over: Collection[bytes] = ()) -> QueueState:
        """Return what there is to do in `queues`, and among the workers.

        `passed_over`: headers of sealed arguments that a claim would leave to others.
        """
        # No queue has an empty name.
        asked = queues or ("",)
        vendor = self.database.vendor
        now, moment = DatabaseNow().on(vendor)
        due = DUE.format(
            queues=placeholders(asked), scheduled_at=f"scheduled_at <= {now}"
        ) + but_for(passed_over, self.database.quoted("args"), vendor)
        until = self.dialect.seconds_until
        soonest = until.format(next="soonest", now=now)
        sql = LOOK.format(
            seconds=NEXT.format(until=soonest, **self.database.names),
            seconds_to_tick=NEXT_TICK.format(until=soonest, **self.database.names),
            due=due,
            left=until.format(next="lease", now=now),
            late=settings().LEASE * LATE_SHARE,
            by_index=self.dialect.by_claim_index,
            paused=self.dialect.names_to_flags,
            **self.database.names,
        )
        until_one = [*moment, *moment]
        params: list[Any] = [*until_one, *until_one, *asked, *moment, *asked, *moment, *until_one]
        with self.database.connection.cursor() as cursor:
            cursor.execute(sql, params)
            to_due, to_tick, *facts, paused = cursor.fetchone()
        moments = _not_negative(to_due), _not_negative(to_tick)
        has_due, has_suspects, has_late_workers, has_waiting = map(bool, facts)
        return QueueState(
            *moments, has_due, has_suspects, has_late_workers, has_waiting, _paused(paused)
        )


def _paused(said: str | None) -> frozenset[str]:
    """Return the queues that are paused, by what people said and what the settings say."""
    by_people = json.loads(said or "{}")
    by_settings = {name for name, own in limits().items() if own.paused}
    names = by_people.keys() | by_settings
    return frozenset(name for name in names if by_people.get(name, name in by_settings))


def _not_negative(seconds: Any) -> float | None:
    return None if seconds is None else max(0.0, float(seconds))

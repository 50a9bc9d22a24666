"""What there is to do, asked in one statement, so that an idle worker costs its database little."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any, Final, NamedTuple

from ..conf import limits, settings
from ..models import DatabaseNow
from .headers import but_for
from .leasing import LATE_SHARE
from .rows import Rows

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
PAUSED: Final = {
    "postgresql": "json_object_agg(name, is_paused)::text",
    "mysql": "JSON_OBJECTAGG(name, is_paused)",
    "sqlite": "json_group_object(name, is_paused)",
}
"""Of the queues that people paused or resumed, which of the two."""

SECONDS_UNTIL: Final = {
    "postgresql": (
        "CASE WHEN {next} <= {now} THEN 0.0"
        " WHEN isfinite({next}) THEN EXTRACT(EPOCH FROM {next} - {now})::float8 END"
    ),
    "mysql": (
        "CASE WHEN {next} <= {now} THEN 0.0"
        " ELSE TIMESTAMPDIFF(MICROSECOND, {now}, {next}) / 1e6 END"
    ),
    "sqlite": (
        "CASE WHEN {next} <= {now} THEN 0.0"
        " ELSE (julianday({next}) - julianday({now})) * 86400.0 END"
    ),
}
"""Of a moment that isn't one, too: 0 if it is before now, else null, as if there were none."""


class Glance(NamedTuple):
    """What a worker sees.

    `next_due`: seconds until the next scheduled attempt is; None: none. `next_tick`: seconds until
    the next tick of a schedule. `has_late_workers`: whether one is late with its lease, or dead and
    not everything that it held was taken back. `has_waiting`: whether something waits for a place
    of a limit key. `paused`: the queues that are.
    """

    next_due: float | None
    next_tick: float | None
    has_due: bool
    has_suspects: bool
    has_late_workers: bool
    has_waiting: bool = False
    paused: frozenset[str] = frozenset()


class Looking(Rows):
    """Reads only."""

    def look(self, queues: Sequence[str], passed_over: Collection[bytes] = ()) -> Glance:
        """Return what there is to do in `queues`, and among the workers.

        `passed_over`: headers of sealed arguments that a claim would leave to others.
        """
        # No queue has an empty name.
        asked = queues or ("",)
        vendor = self.connection.vendor
        now, moment = DatabaseNow().on(vendor)
        due = DUE.format(
            queues=", ".join(["%s"] * len(asked)), scheduled_at=f"scheduled_at <= {now}"
        ) + but_for(passed_over, self.quoted("args"), vendor)
        until = SECONDS_UNTIL[vendor]
        soonest = until.format(next="soonest", now=now)
        sql = LOOK.format(
            seconds=NEXT.format(until=soonest, **self.names),
            seconds_to_tick=NEXT_TICK.format(until=soonest, **self.names),
            due=due,
            left=until.format(next="lease", now=now),
            late=settings().LEASE * LATE_SHARE,
            by_index=self.by_claim_index,
            paused=PAUSED[vendor],
            **self.names,
        )
        until_one = [*moment, *moment]
        params: list[Any] = [*until_one, *until_one, *asked, *moment, *asked, *moment, *until_one]
        with self.connection.cursor() as cursor:
            cursor.execute(sql, params)
            to_due, to_tick, *facts, paused = cursor.fetchone()
        moments = _not_negative(to_due), _not_negative(to_tick)
        has_due, has_suspects, has_late_workers, has_waiting = map(bool, facts)
        return Glance(
            *moments, has_due, has_suspects, has_late_workers, has_waiting, _paused(paused)
        )


def _paused(said: str | None) -> frozenset[str]:
    """The queues that are paused, by what people said and what the settings say."""
    by_people = json.loads(said or "{}")
    by_settings = {name for name, own in limits().items() if own.paused}
    names = by_people.keys() | by_settings
    return frozenset(name for name in names if by_people.get(name, name in by_settings))


def _not_negative(seconds: Any) -> float | None:
    return None if seconds is None else max(0.0, float(seconds))

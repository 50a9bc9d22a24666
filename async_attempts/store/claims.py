"""Look for what is due, promote it, and claim a batch: committed before any target is called."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

from ..conf import limits, settings
from ..lifecycle import Released, Status
from ..models import DatabaseNow
from .claimed import ORDINARY, SUSPECT, TOO_LATE, Claim, Claimed, Selection, Unknown
from .database import Database, placeholders
from .dialects.base import Dialect
from .expressions import UNBEGUN, but_for
from .limits import Limits
from .outcomes import Outcomes
from .queues import Queues, limits_of_queue
from .workers import LATE_SHARE

MOST_ASKED: Final = 200

TRIES: Final = 20
"""The most tries of a claim when some of what it took came too late, or has no slot."""

LOOK: Final = """
SELECT
    (SELECT {until} FROM (
        SELECT MIN(scheduled_at) AS soonest FROM {attempt} WHERE status = 'scheduled'
    ) scheduled),
    (SELECT {until} FROM (SELECT MIN(next_tick) AS soonest FROM {schedule}) ticks),
    EXISTS (SELECT 1 FROM {attempt} {by_index} WHERE {due} AND num_crashes = 0),
    EXISTS (SELECT 1 FROM {attempt} {by_index} WHERE {due} AND num_crashes > 0),
    EXISTS (SELECT 1 FROM {worker} WHERE state = 'dead' OR (state = 'live' AND {left} < {late})),
    EXISTS (SELECT 1 FROM {attempt} WHERE status = 'waiting' AND blockers = 0 AND limit_key > ''),
    (SELECT {paused} FROM {queue} WHERE is_paused IS NOT NULL)
"""
DUE: Final = """status = 'pending' AND claimed_by IS NULL AND queue IN ({queues})
    AND scheduled_at <= {now}{but_for}"""


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
    has_waiting: bool
    paused: frozenset[str]


class Claims:
    """Looks, promotions and claims: from scheduled to pending to running."""

    def __init__(
        self,
        database: Database,
        dialect: Dialect,
        outcomes: Outcomes,
        limits: Limits,
        queues: Queues,
    ) -> None:
        self.database = database
        self.dialect = dialect
        self.outcomes = outcomes
        self.limits = limits
        self.queues = queues

    def look(self, queues: Sequence[str], passed_over: Collection[bytes] = ()) -> QueueState:
        """Return what there is to do in `queues`, and among the workers, by one statement.

        An idle worker costs no more than this.
        `passed_over`: headers of sealed arguments that a claim would leave to others.
        """
        # No queue has an empty name.
        asked = queues or ("",)
        vendor = self.database.vendor
        now, moment = DatabaseNow().on(vendor)
        others = but_for(passed_over, self.database.quoted("args"), vendor)
        until = self.dialect.seconds_until
        sql = LOOK.format(
            until=until.format(next="soonest", now=now),
            due=DUE.format(queues=placeholders(asked), now=now, but_for=others),
            left=until.format(next="lease", now=now),
            late=settings().LEASE * LATE_SHARE,
            by_index=self.dialect.by_claim_index,
            paused=self.dialect.names_to_flags,
            **self.database.names,
        )
        until_one = [*moment, *moment]
        params = [*until_one, *until_one, *asked, *moment, *asked, *moment, *until_one]
        [(to_due, to_tick, *facts, paused)] = self.database.fetch(sql, params)
        due, suspects, late_workers, waiting = map(bool, facts)
        moments = _not_negative(to_due), _not_negative(to_tick)
        return QueueState(*moments, due, suspects, late_workers, waiting, _paused(paused))

    def promote(self, limit: int = 1000) -> int:
        """Make at most `limit` due scheduled attempts pending; returns their number."""
        return self.dialect.promote(limit)

    def promote_one(self, attempt_id: UUID) -> None:
        """Make this attempt pending, if it is scheduled and due."""
        due = self.database.attempts.filter(
            pk=attempt_id, status=Status.SCHEDULED, scheduled_at__lte=DatabaseNow()
        )
        self.database.in_transaction(lambda: due.update(status=Status.PENDING))

    def claim(
        self,
        worker_id: UUID,
        queues: Iterable[str],
        limit: int,
        *,
        suspects: bool = False,
        at_once: int | None = None,
        passed_over: Collection[bytes] = (),
    ) -> Claimed:
        """Claim the best `limit` due attempts of `queues`, the first queue's first.

        Claims nothing for a worker that isn't live, nor of a queue that is paused. What is past its
        `expires_at` is finished as expired instead; what has no free slot of its limit key waits.
        Suspects (in flight when a worker died) are claimed only when asked for. `at_once`: how
        many can begin at once, which is the most that is taken of a queue with limits.
        `passed_over`: headers of sealed arguments that are left to others, as this process lacks
        their keys.
        """
        kind = SUSPECT if suspects else ORDINARY
        kind += but_for(passed_over, self.database.quoted("args"), self.database.vendor)
        claims = Claimed()
        for queue in queues:
            which = Selection(f"{self._of_open_queue(queue)} AND {kind}", queue, passed_over)
            grows = not suspects and not limits_of_queue(queue).of_claims
            asked = 0
            for _ in range(TRIES):
                wanted = limit - len(claims)
                # Many of one key may be before the next that has a slot.
                asked = max(wanted, min(asked * 2, MOST_ASKED)) if grows and wanted else wanted
                found = self._claim_of(
                    queue, worker_id, which, asked, at_once=at_once, claims=claims
                )
                kept = self._fit(worker_id, found, claims)
                claims += self._no_more_than(wanted, worker_id, kept, claims)
                # There may be more behind attempts that came too late, or have no slot.
                if len(kept) == len(found):
                    break
                self.queues.give_tokens_back(queue, len(found) - len(kept))
                claims.held_back.pop(queue, None)
            else:
                claims.may_have_more = True
        return claims

    def _no_more_than(
        self, number: int, worker_id: UUID, claims: Sequence[Claim], taken: Claimed
    ) -> Sequence[Claim]:
        """Return the first of `claims`; the others are given back."""
        if surplus := claims[number:]:
            unrecorded = self.outcomes.finish(worker_id, [(claim, Released()) for claim in surplus])
            taken.unrecorded += [(claim, Released()) for claim in unrecorded.locked]
            self.limits.unpark({claim.limit_key for claim in surplus})
        return claims[:number] if surplus else claims

    def _claim_of(
        self,
        queue: str,
        worker_id: UUID,
        which: Selection,
        wanted: int,
        *,
        at_once: int | None,
        claims: Claimed,
    ) -> Sequence[Claim]:
        """Claim from one queue; `claims`: what other queues gave already."""
        if wanted <= 0:
            return ()
        if not limits_of_queue(queue).of_claims:
            return self.dialect.claim(worker_id, which, wanted)
        room = wanted if at_once is None else min(wanted, at_once - len(claims))
        if room <= 0:
            claims.held_back[queue] = None
            return ()
        if not self.dialect.any_due(which):
            return ()
        taken = self.queues.claim(worker_id, which, room, queue)
        if taken.is_held_back:
            claims.held_back[queue] = taken.seconds
        return taken.claims

    def _of_open_queue(self, queue: str) -> str:
        """Return a condition in SQL: an attempt of this queue, which isn't paused."""
        row = f"SELECT 1 FROM {self.database.names['queue']} WHERE name = %(which)s AND"
        if limits_of_queue(queue).paused:
            return f"queue = %(which)s AND EXISTS ({row} NOT is_paused)"
        return f"queue = %(which)s AND NOT EXISTS ({row} is_paused)"

    def claim_one(
        self, worker_id: UUID, attempt_id: UUID, taken: Claimed | None = None
    ) -> Claim | None:
        """Claim this attempt, if it is due and nobody has; None if not.

        `taken` is told of one that is past its `expires_at`, which is finished as expired.

        None, too, where its queue or its limit key has no free slot; a pause doesn't matter, nor a
        rate.
        """
        which = Selection("id = %(which)s", attempt_id)
        queue = self.database.attempts.filter(pk=attempt_id).values_list("queue", flat=True).first()
        if queue is None or limits_of_queue(queue).concurrency is None:
            found: Sequence[Claim] = self.dialect.claim(worker_id, which, 1)
        else:
            found = self.queues.claim(worker_id, which, 1, queue, rated=False).claims
        return next(iter(self._fit(worker_id, found, Claimed() if taken is None else taken)), None)

    def _fit(self, worker_id: UUID, claims: Sequence[Claim], taken: Claimed) -> Sequence[Claim]:
        """Return those of `claims` that came in time and have a slot."""
        timely = self._without_late(worker_id, claims, taken)
        fitting = self.limits.take_slots(worker_id, timely, taken)
        if len(timely) < len(claims):
            # A late one may have been unparked for a slot, which is the next one's then.
            kept = {claim.id_bytes for claim in timely}
            self.limits.unpark(c.limit_key for c in claims if c.id_bytes not in kept)
        return fitting

    def release_unknown(self, worker_id: UUID, in_flight: Collection[UUID] = ()) -> Unknown:
        """Give back, with their counts, a worker's claims but for those that it has `in_flight`.

        The database committed them, and the worker never heard of it. Returns what could not be
        given back now: to be called again.
        """

        def work() -> Unknown:
            me = self.database.workers.filter(pk=worker_id).values_list("pk", flat=True)
            if not list(me.select_for_update(skip_locked=True)):
                return Unknown.CLAIM if me.exists() else Unknown.NOTHING
            held = self.database.attempts.filter(status=Status.PENDING, claimed_by=worker_id)
            held = held.exclude(pk__in=in_flight)
            ids = self.database.lock_free(held)
            held.filter(pk__in=ids).update(**UNBEGUN)
            self.database.notify_due()
            return Unknown.LOCKED if held.exists() else Unknown.NOTHING

        return self.database.in_transaction(work)

    def _without_late(
        self, worker_id: UUID, claims: Sequence[Claim], taken: Claimed
    ) -> list[Claim]:
        late = [c for c in claims if c.seconds_left is not None and c.seconds_left <= 0]
        if not late:
            return list(claims)
        unrecorded = self.outcomes.finish(worker_id, [(claim, TOO_LATE) for claim in late])
        locked = unrecorded.locked
        taken.unrecorded += [(claim, TOO_LATE) for claim in locked]
        taken.too_late += [c for c in late if c not in unrecorded and c not in locked]
        return [c for c in claims if c.seconds_left is None or c.seconds_left > 0]


def _paused(said: str | None) -> frozenset[str]:
    """Return the queues that are paused, by what people said and what the settings say."""
    by_people = json.loads(said or "{}")
    by_settings = {name for name, own in limits().items() if own.paused}
    names = by_people.keys() | by_settings
    return frozenset(name for name in names if by_people.get(name, name in by_settings))


def _not_negative(seconds: Any) -> float | None:
    return None if seconds is None else max(0.0, float(seconds))

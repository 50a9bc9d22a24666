"""Promote what became due, and claim a batch of it: committed before any target is called."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Final
from uuid import UUID

from django.db.models import Q

from ..lifecycle import Released, Status
from ..models import DatabaseNow
from .claims import TOO_LATE, Claim, Claims, Unknown
from .headers import but_for, without
from .limiting import Limiting, Which, limits_of_queue
from .rows import UNCOUNTED

ORDINARY: Final = "num_crashes = 0"
SUSPECT: Final = "num_crashes > 0"

MOST_ASKED: Final = 200

TRIES: Final = 20
"""How often a claim is made again when some of what it took came too late, or has no place."""


class Claiming(Limiting):
    """From scheduled to pending to running."""

    def promote(self, limit: int = 1000) -> int:
        """Make at most `limit` due scheduled attempts pending; returns how many."""

        def work() -> int:
            due = self.attempts.filter(status=Status.SCHEDULED, scheduled_at__lte=DatabaseNow())
            due = due.order_by("scheduled_at", "id").select_for_update(skip_locked=True)
            ids = list(due.values_list("id", flat=True)[:limit])
            rows = self.attempts.filter(pk__in=ids, status=Status.SCHEDULED)
            promoted = rows.update(status=Status.PENDING) if ids else 0
            if promoted:
                # It may be another queue's, whose workers have seen it locked, and looked away.
                self.pass_gate()
            return promoted

        return self.whole(work)

    def promote_one(self, attempt_id: UUID) -> None:
        """Make this attempt pending, if it is scheduled and due."""
        due = self.attempts.filter(
            pk=attempt_id, status=Status.SCHEDULED, scheduled_at__lte=DatabaseNow()
        )
        self.whole(lambda: due.update(status=Status.PENDING))

    def claim(
        self,
        worker_id: UUID,
        queues: Iterable[str],
        limit: int,
        *,
        suspects: bool = False,
        at_once: int | None = None,
        passed_over: Collection[bytes] = (),
    ) -> Claims:
        """Claim the best `limit` due attempts of `queues`, the first queue's first.

        Claims nothing for a worker that isn't live, nor of a queue that is paused. What is past its
        `expires_at` is finished as expired instead; what has no place under its limit key waits for
        one. Suspects (in hand when a worker died) are claimed only when asked for. `at_once`: how
        many can begin at once, which is the most that is taken of a queue with limits.
        `passed_over`: headers of sealed arguments that are left to others, as this process lacks
        their keys.
        """
        kind = SUSPECT if suspects else ORDINARY
        kind += but_for(passed_over, self.quoted("args"), self.connection.vendor)
        claims = Claims()
        for queue in queues:
            which = Which(f"{self._of_open_queue(queue)} AND {kind}", queue, passed_over)
            grows = not suspects and not limits_of_queue(queue).of_claims
            asked = 0
            for _ in range(TRIES):
                wanted = limit - len(claims)
                # Many of one key may be before the next that has a place.
                asked = max(wanted, min(asked * 2, MOST_ASKED)) if grows and wanted else wanted
                found = self._claim_of(
                    queue, worker_id, which, asked, at_once=at_once, claims=claims
                )
                kept = self._fit(worker_id, found, claims)
                claims += self._no_more_than(wanted, worker_id, kept, claims)
                # There may be more behind those that came too late, or have no place.
                if len(kept) == len(found):
                    break
                self.give_tokens_back(queue, len(found) - len(kept))
                claims.held_back.pop(queue, None)
            else:
                claims.is_partial = True
        return claims

    def _no_more_than(
        self, number: int, worker_id: UUID, claims: Sequence[Claim], taken: Claims
    ) -> Sequence[Claim]:
        """The first of `claims`; the others are given back."""
        if surplus := claims[number:]:
            unrecorded = self.finish(worker_id, [(claim, Released()) for claim in surplus])
            taken.unrecorded += [(claim, Released()) for claim in unrecorded.locked]
            self.wake({claim.limit_key for claim in surplus} - {""})
        return claims[:number] if surplus else claims

    def _claim_of(
        self,
        queue: str,
        worker_id: UUID,
        which: Which,
        wanted: int,
        *,
        at_once: int | None,
        claims: Claims,
    ) -> Sequence[Claim]:
        """Claim of one queue, beside the `claims` that others gave."""
        if wanted <= 0:
            return ()
        if not limits_of_queue(queue).of_claims:
            return self._claim_where(worker_id, which, wanted)
        room = wanted if at_once is None else min(wanted, at_once - len(claims))
        if room <= 0:
            claims.held_back[queue] = None
            return ()
        if not self._any(which):
            return ()
        taken = self.claim_limited(worker_id, which, room, queue)
        if taken.is_held_back:
            claims.held_back[queue] = taken.seconds
        return taken.claims

    def _of_open_queue(self, queue: str) -> str:
        """A condition in SQL: an attempt of this queue, which isn't paused."""
        paused = "SELECT 1 FROM {queue} WHERE name = %(which)s AND {is_paused}"
        if limits_of_queue(queue).paused:
            resumed = paused.format(is_paused="NOT is_paused", **self.names)
            return f"queue = %(which)s AND EXISTS ({resumed})"
        paused = paused.format(is_paused="is_paused", **self.names)
        return f"queue = %(which)s AND NOT EXISTS ({paused})"

    def claim_one(
        self, worker_id: UUID, attempt_id: UUID, taken: Claims | None = None
    ) -> Claim | None:
        """Claim this attempt, if it is due and nobody has; None if not.

        `taken` is told of one that is past its `expires_at`, which is finished as expired.

        None, too, where its queue or its limit key has no place; a pause doesn't matter, nor a
        rate.
        """
        which = Which("id = %(which)s", attempt_id)
        queue = self.attempts.filter(pk=attempt_id).values_list("queue", flat=True).first()
        if queue is None or limits_of_queue(queue).concurrency is None:
            found: Sequence[Claim] = self._claim_where(worker_id, which, 1)
        else:
            found = self.claim_limited(worker_id, which, 1, queue, rated=False).claims
        return next(iter(self._fit(worker_id, found, Claims() if taken is None else taken)), None)

    def _any(self, which: Which) -> bool:
        """Whether there is something to claim, paused or not."""
        if isinstance(which.param, UUID):
            return bool(self.due(Q(pk=which.param)).exists())
        suspects = Q(num_crashes__gt=0) if SUSPECT in which.sql else Q(num_crashes=0)
        due = without(self.due(Q(queue=which.param) & suspects), which.passed_over)
        return bool(due.exists())

    def _fit(self, worker_id: UUID, claims: Sequence[Claim], taken: Claims) -> Sequence[Claim]:
        """Those of `claims` that came in time and have a place."""
        timely = self._without_late(worker_id, claims, taken)
        placed = self.with_places(worker_id, timely, taken)
        if len(timely) < len(claims):
            # A late one may have been woken for a place, which is the next one's then.
            kept = {claim.id_bytes for claim in timely}
            self.wake({c.limit_key for c in claims if c.id_bytes not in kept} - {""})
        return placed

    def release_unknown(self, worker_id: UUID, in_hand: Collection[UUID] = ()) -> Unknown:
        """Give back, with their counts, a worker's claims but for those that it has `in_hand`.

        The database committed them, and the worker never heard of it. Returns what could not be
        given back now: to be called again.
        """

        def work() -> Unknown:
            me = self.workers.filter(pk=worker_id).values_list("pk", flat=True)
            if not list(me.select_for_update(skip_locked=True)):
                return Unknown.CLAIM if me.exists() else Unknown.NOTHING
            held = self.attempts.filter(status=Status.PENDING, claimed_by=worker_id)
            held = held.exclude(pk__in=in_hand)
            rows = self.skipping_locked(held.order_by("id"))
            ids = list(rows.values_list("id", flat=True))
            given_back = {"claimed_by": None, "started_at": None}
            held.filter(pk__in=ids).update(num_attempts=UNCOUNTED, **given_back)
            self.pass_gate()
            return Unknown.LOCKED if held.exists() else Unknown.NOTHING

        return self.whole(work)

    def _without_late(self, worker_id: UUID, claims: Sequence[Claim], taken: Claims) -> list[Claim]:
        late = [c for c in claims if c.seconds_left is not None and c.seconds_left <= 0]
        if not late:
            return list(claims)
        unrecorded = self.finish(worker_id, [(claim, TOO_LATE) for claim in late])
        locked = unrecorded.locked
        taken.unrecorded += [(claim, TOO_LATE) for claim in locked]
        taken.too_late += [c for c in late if c not in unrecorded and c not in locked]
        return [c for c in claims if c.seconds_left is None or c.seconds_left > 0]

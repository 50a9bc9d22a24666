"""An explanation of an attempt's state, and of what happens next, in one sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from math import ceil
from typing import Any, Final

from django.db import router
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from ..conf import limits, settings
from ..lifecycle import LIVE, RUNNING, Status
from ..limits import UNLIMITED
from ..models import AbstractAttempt, Queue, Worker
from ..store import Room, Store, store_for
from ..targets import crashes_allowed, known_policy
from ..worker.execution.retrying import executions_allowed
from .display import holds_lease, served_by, spoken, state_label
from .rows import readable, readable_or_none

SEALED_WITH: Final = "sealed with key"
"""The beginning of the reason that a worker without the key writes."""

RESCUED_WITHIN: Final = 10.0
"""Seconds after half a lease within which a live worker rescues a lost worker's attempts."""


def allowed_for(attempt: AbstractAttempt) -> int | None:
    """Return the number of executions allowed; None if this process doesn't know the target.

    It imports nothing: else a person who can write rows chose what runs in the web process.
    """
    if attempt.max_attempts:
        return attempt.max_attempts
    policy = known_policy(attempt.target, attempt.method_name)
    return None if policy is None else executions_allowed(None, policy, attempt.queue)


def explain(attempt: AbstractAttempt) -> str:
    """Return the sentence: "scheduled: execution 3 of 10 is due …; last error TimeoutError"."""
    around = Circumstances(attempt)
    clauses = [f"{state_label(attempt.state)}: {_CLAUSES[attempt.state](attempt, around)}"]
    if attempt.error_class and attempt.status != Status.SUCCEEDED:
        clauses.append(_("last error %(error)s") % {"error": attempt.error_class})
    if attempt.num_crashes and attempt.status in LIVE:
        clauses.append(
            ngettext(
                "it was in hand when a worker died, so it is performed alone",
                "it was in hand when %(n)d workers died, so it is performed alone",
                attempt.num_crashes,
            )
            % {"n": attempt.num_crashes}
        )
    if attempt.state == RUNNING and attempt.cancel_requested:
        clauses.append(_("it was asked to stop"))
    if (further := _NEXT.get(attempt.state)) is not None:
        clauses += further(attempt, around)
    return "; ".join(clauses)


class Circumstances:
    """The circumstances of one attempt; each is read when it is needed, without locks."""

    def __init__(self, attempt: AbstractAttempt) -> None:
        self.attempt = attempt

    @cached_property
    def now(self) -> datetime:
        """The database's clock."""
        return self._store.database.now()

    @cached_property
    def worker(self) -> Worker | None:
        """The worker that claimed it, if its row is still there."""
        claimed_by = self.attempt.claimed_by
        workers = self._store.database.workers
        return readable_or_none(workers.filter(pk=claimed_by)) if claimed_by else None

    @cached_property
    def live_workers(self) -> Sequence[Worker]:
        """The workers that hold their lease."""
        return readable(self._store.statistics.live_workers())

    @property
    def serving(self) -> Sequence[Worker]:
        """The live workers that claim from its queue."""
        return [w for w in self.live_workers if self.attempt.queue in served_by(w)]

    @property
    def is_declared(self) -> bool:
        """True if the settings of this process declare its queue."""
        return self.attempt.queue in settings().QUEUES

    @cached_property
    def is_paused(self) -> bool:
        """True if no worker may claim from its queue."""
        queue = readable_or_none(self._store.database.queues.filter(pk=self.attempt.queue))
        return (queue or Queue(name=self.attempt.queue)).paused

    @cached_property
    def room(self) -> Room:
        """The room that the limits of its queue leave."""
        return self._store.queues.room(self.attempt.queue)

    def seconds_to_rescue(self, worker: Any) -> float:
        """Return the seconds that live workers may still take to rescue from a lost `worker`."""
        began = min(filter(None, (w.started_at for w in self.live_workers)), default=self.now)
        seen = (self.now - max(worker.lease or began, began)).total_seconds()
        return seconds_to_rescue() - seen

    @property
    def _store(self) -> Store:
        return store_for(self.attempt._state.db or router.db_for_read(type(self.attempt)))


def seconds_to_rescue() -> float:
    """Return the most seconds from a lost worker's lease running out to its rescue."""
    return settings().LEASE / 2 + RESCUED_WITHIN


def _due(attempt: Any, around: Circumstances) -> str:
    said = {
        "execution": _execution(attempt, attempt.num_attempts + 1),
        "when": spoken(attempt.scheduled_at),
    }
    if attempt.scheduled_at is None:
        return _("%(execution)s is due at a moment that can't be read") % said
    if attempt.scheduled_at > around.now:
        return _("%(execution)s is due %(when)s") % said
    return _("%(execution)s has been due since %(when)s") % said


def _running(attempt: AbstractAttempt, around: Circumstances) -> str:
    return _("%(execution)s was claimed %(when)s") % {
        "execution": _execution(attempt, attempt.num_attempts),
        "when": spoken(attempt.started_at),
    }


def _waiting(attempt: AbstractAttempt, around: Circumstances) -> str:
    if attempt.blockers:
        return ngettext(
            "for %(n)d prerequisite, and goes on when that has ended as it needs",
            "for %(n)d prerequisites, and goes on when they have ended as it needs",
            attempt.blockers,
        ) % {"n": attempt.blockers}
    most = attempt.concurrency or 1
    return ngettext(
        "for a free slot of its limit %(key)s, and goes on when the one that holds it has ended",
        "for a free slot of its limit %(key)s, and goes on when one of the %(n)d that hold them "
        "has ended",
        most,
    ) % {"key": attempt.limit_key or "", "n": most}


def _ended(attempt: AbstractAttempt, around: Circumstances) -> str:
    return _("%(reason)s; ended %(when)s") % {
        "when": spoken(attempt.completed_at),
        "reason": _as_clause(attempt.reason) or _("no reason was given"),
    }


def _as_clause(reason: str) -> str:
    """Return a reason without the punctuation at its end."""
    return reason.rstrip().rstrip(".;,")


def _succeeded(attempt: AbstractAttempt, around: Circumstances) -> str:
    return _("%(execution)s ended %(when)s") % {
        "execution": _execution(attempt, attempt.num_attempts),
        "when": spoken(attempt.completed_at),
    }


def _execution(attempt: AbstractAttempt, number: int) -> str:
    if (allowed := allowed_for(attempt)) is None:
        return _("execution %(number)d (of how many is unknown here)") % {"number": number}
    return _("execution %(number)d of %(allowed)d") % {"number": number, "allowed": allowed}


def _before_it_begins(attempt: AbstractAttempt, around: Circumstances) -> Iterator[str]:
    """Yield what keeps an unclaimed attempt from beginning, and what ends that."""
    if reason := _as_clause(attempt.reason):
        yield _("put off: %(reason)s") % {"reason": reason}
    if attempt.reason.startswith(SEALED_WITH):
        yield _("it begins with a worker that has this key; the others put it off again, uncounted")
    if attempt.expires_at and attempt.expires_at <= around.now:
        yield _("it expires instead: it was to begin before %(when)s") % {
            "when": spoken(attempt.expires_at)
        }
        return
    held_up = list(_held_up(attempt, around))
    yield from held_up
    if attempt.status == Status.PENDING and not held_up:
        n = len(around.serving)
        yield ngettext(
            "it waits for the worker of the queue %(queue)s",
            "it waits for one of the %(n)d workers of the queue %(queue)s",
            n,
        ) % {"n": n, "queue": attempt.queue}
    if attempt.expires_at:
        yield _("it expires %(when)s unless it has begun") % {"when": spoken(attempt.expires_at)}


def _held_up(attempt: AbstractAttempt, around: Circumstances) -> Iterator[str]:
    """Yield the reasons why no worker claims it, in its queue and its workers."""
    queue = {"queue": attempt.queue}
    if around.is_paused:
        yield _("its queue %(queue)s is paused: it begins after somebody resumes that") % queue
    if not around.is_declared and not around.serving:
        yield (
            _("its queue %(queue)s isn't declared in the settings, so no worker serves it") % queue
        )
    elif not (n := len(around.live_workers)):
        yield _("no worker is live: it begins when one of the queue %(queue)s is started") % queue
    elif not around.serving:
        yield ngettext(
            "the live worker doesn't serve the queue %(queue)s: it begins when one is started "
            "that does",
            "none of the %(n)d live workers serves the queue %(queue)s: it begins when one is "
            "started that does",
            n,
        ) % (queue | {"n": n})
    elif attempt.status == Status.PENDING and not around.is_paused:
        yield from _limited(attempt, around)


def _limited(attempt: AbstractAttempt, around: Circumstances) -> Iterator[str]:
    own, room = limits().get(attempt.queue, UNLIMITED), around.room
    if own.concurrency is not None and room.slots == 0:
        yield ngettext(
            "its queue %(queue)s lets %(n)d run at once: it begins after that has ended",
            "its queue %(queue)s lets %(n)d run at once: it begins after one of them has ended",
            own.concurrency,
        ) % {"queue": attempt.queue, "n": own.concurrency}
    if room.seconds:
        yield _("its queue %(queue)s begins %(rate)s: the next one in %(n).1f s") % {
            "queue": attempt.queue,
            "rate": own.rate,
            "n": room.seconds,
        }


def _while_running(attempt: AbstractAttempt, around: Circumstances) -> Iterator[str]:
    """Yield what becomes of an attempt whose worker was lost."""
    worker = around.worker
    if worker is None:
        yield _("its worker is gone")
    elif holds_lease(worker, around.now):
        return
    elif worker.state == Worker.State.LIVE:
        yield _("its worker %(worker)s has been lost since %(when)s") % {
            "worker": worker,
            "when": spoken(worker.lease),
        }
    else:
        said = {"worker": worker, "state": worker.get_state_display()}
        yield _("its worker %(worker)s is %(state)s") % said
    if not around.live_workers:
        yield _("no worker is live: one that is started takes it back within %(n)d s") % {
            "n": ceil(seconds_to_rescue())
        }
    elif worker is None or worker.state != Worker.State.LIVE:
        yield _("a live worker takes it back")
    elif (seconds := around.seconds_to_rescue(worker)) > 0:
        yield _("a live worker takes it back within %(n)d s") % {"n": ceil(seconds)}
    else:
        yield _("a live worker should have taken it back by now: see the workers' logs")
    if worker is not None and worker.state == Worker.State.LIVE:
        yield _after_the_crash(attempt)


def _after_the_crash(attempt: AbstractAttempt) -> str:
    if attempt.cancel_requested:
        return _("then it expires, since it was asked to stop")
    policy = known_policy(attempt.target, attempt.method_name)
    crashes, most = attempt.num_crashes + 1, crashes_allowed(policy, attempt.queue)
    if crashes >= most:
        return _("then it fails: that is crash %(n)d of %(most)d") % {"n": crashes, "most": most}
    return _("that counts as a crash, after which it is performed alone")


def _until_retried(attempt: AbstractAttempt, around: Circumstances) -> Iterator[str]:
    yield _("it runs again only if somebody retries it")


_CLAUSES: Final[Mapping[str, Callable[[AbstractAttempt, Circumstances], str]]] = {
    Status.SCHEDULED: _due,
    Status.PENDING: _due,
    Status.WAITING: _waiting,
    RUNNING: _running,
    Status.SUCCEEDED: _succeeded,
    Status.FAILED: _ended,
    Status.EXPIRED: _ended,
}


_NEXT: Final[Mapping[str, Callable[[AbstractAttempt, Circumstances], Iterator[str]]]] = {
    Status.SCHEDULED: _before_it_begins,
    Status.PENDING: _before_it_begins,
    Status.WAITING: _before_it_begins,
    RUNNING: _while_running,
    Status.FAILED: _until_retried,
    Status.EXPIRED: _until_retried,
}

"""Why an attempt is in its state, and what happens next, in one sentence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from ..exceptions import AttemptsError
from ..lifecycle import LIVE, RUNNING, Status
from ..models import AbstractAttempt
from ..targets import Policy, method_of
from ..worker.errors import executions_allowed
from .cells import spoken, state_label


def allowed_for(attempt: AbstractAttempt) -> int:
    """How many executions it may begin, as far as this process has its target's code."""
    try:
        policy = method_of(attempt.target, attempt.method_name).policy
    except AttemptsError:
        policy = Policy()
    return executions_allowed(attempt.max_attempts, policy)


def explain(attempt: AbstractAttempt) -> str:
    """E.g. "scheduled: execution 3 of 10 is due …; last error TimeoutError"."""
    clauses = [f"{state_label(attempt.state)}: {_CLAUSES[attempt.state](attempt)}"]
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
    return "; ".join(clauses)


def _scheduled(attempt: AbstractAttempt) -> str:
    return _("%(execution)s is due %(when)s") % {
        "execution": _execution(attempt, attempt.num_attempts + 1),
        "when": spoken(attempt.scheduled_at),
    }


def _pending(attempt: AbstractAttempt) -> str:
    return _("%(execution)s, due %(when)s, waits for a worker of the queue %(queue)s") % {
        "execution": _execution(attempt, attempt.num_attempts + 1),
        "when": spoken(attempt.scheduled_at),
        "queue": attempt.queue,
    }


def _running(attempt: AbstractAttempt) -> str:
    return _("%(execution)s was claimed %(when)s") % {
        "execution": _execution(attempt, attempt.num_attempts),
        "when": spoken(attempt.started_at),
    }


def _waiting(attempt: AbstractAttempt) -> str:
    if attempt.blockers:
        return ngettext("for %(n)d prerequisite", "for %(n)d prerequisites", attempt.blockers) % {
            "n": attempt.blockers
        }
    return _("for a free slot of its limit %(key)s") % {"key": attempt.limit_key or ""}


def _ended(attempt: AbstractAttempt) -> str:
    return _("%(reason)s; ended %(when)s") % {
        "when": spoken(attempt.completed_at),
        "reason": attempt.reason or _("no reason was given"),
    }


def _succeeded(attempt: AbstractAttempt) -> str:
    return _("%(execution)s ended %(when)s") % {
        "execution": _execution(attempt, attempt.num_attempts),
        "when": spoken(attempt.completed_at),
    }


def _execution(attempt: AbstractAttempt, number: int) -> str:
    return _("execution %(number)d of %(allowed)d") % {
        "number": number,
        "allowed": allowed_for(attempt),
    }


_CLAUSES: Final[Mapping[str, Callable[[AbstractAttempt], str]]] = {
    Status.SCHEDULED: _scheduled,
    Status.PENDING: _pending,
    Status.WAITING: _waiting,
    RUNNING: _running,
    Status.SUCCEEDED: _succeeded,
    Status.FAILED: _ended,
    Status.EXPIRED: _ended,
}

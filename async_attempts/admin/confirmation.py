"""The confirmation before a verb: its texts, its form, and a preview of its effect."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final, NamedTuple

from django import forms
from django.contrib.humanize.templatetags.humanize import intcomma
from django.db.models import Count, Q, QuerySet
from django.utils.functional import Promise
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from ..lifecycle import RUNNING, Status, sources_of
from ..models import AbstractAttempt, AttemptQuerySet
from ..worker.execution.recorded_text import REASON_LENGTH
from .display import STATES, state_label

MOST_COUNTED: Final = 100_000
"""The most attempts that a confirmation counts, so that it opens quickly on any table."""

LONGEST_SPREAD: Final = 30 * 24 * 60
"""Minutes."""

ONLY_IF_ASKED: Final = {"retry": frozenset({Status.EXPIRED})}
"""The states that a verb changes only if its form says so."""


class Wording(NamedTuple):
    """The texts of a verb: its button, and its confirmation."""

    button: Promise
    question: Promise
    consequence: Promise


WORDING: Final = {
    "expire": Wording(
        _("Expire"),
        _("Expire attempts?"),
        _(
            "They should no longer run, and will not. An execution that has begun is not "
            "interrupted, but its outcome will not count."
        ),
    ),
    "fail": Wording(
        _("Fail"),
        _("Fail attempts?"),
        _(
            "They will count as failed for good, and not run. An execution that has begun is not "
            "interrupted, but its outcome will not count."
        ),
    ),
    "retry": Wording(
        _("Retry"),
        _("Retry attempts?"),
        _(
            "They are due again, and their executions are counted from 0. Attempts that expired "
            "because of them wait for them again."
        ),
    ),
}


class Answers(NamedTuple):
    """The values of a confirmation's form. `also`: the states of `ONLY_IF_ASKED` to change, too."""

    reason: str
    spread: timedelta | None = None
    also: frozenset[str] = frozenset()


class ReasonForm(forms.Form):
    """The reason to expire or fail attempts; it is kept with them and in the admin's log."""

    reason = forms.CharField(
        label=_("Reason"),
        max_length=REASON_LENGTH,
        widget=forms.TextInput(attrs={"class": "vTextField", "autofocus": True}),
        help_text=_("Kept with each attempt, for whoever reads it next."),
    )

    @property
    def answers(self) -> Answers:
        """The values of a valid form."""
        return Answers(self.cleaned_data["reason"])


class RetryForm(ReasonForm):
    """The reason to retry attempts, which of them, and when they are due."""

    spread = forms.FloatField(
        label=_("Spread over minutes"),
        min_value=0,
        max_value=LONGEST_SPREAD,
        required=False,
        help_text=_("Each is due at a random moment within this time. Empty: all are due now."),
    )
    with_expired = forms.BooleanField(
        label=_("Retry the expired ones, too"), label_suffix="", required=False
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # A retried attempt has no reason any more.
        self.fields["reason"].help_text = _("Kept in the admin's log, for whoever reads it next.")

    @property
    def answers(self) -> Answers:
        given = self.cleaned_data
        spread = timedelta(minutes=given["spread"]) if given["spread"] else None
        also = ONLY_IF_ASKED["retry"] if given["with_expired"] else frozenset[str]()
        return Answers(given["reason"], spread, also)


FORMS: Final[dict[str, type[ReasonForm]]] = {
    "expire": ReasonForm,
    "fail": ReasonForm,
    "retry": RetryForm,
}


ALWAYS_ASKED: Final = frozenset({"retry"})
"""The verbs that are confirmed even for ticked rows: their form has more than a reason."""


class Preview(NamedTuple):
    """The states that a verb would change, change if asked to, and skip, in words."""

    changing: str
    if_asked: str
    skipping: str
    has_running: bool


def preview(attempts: AttemptQuerySet[Any], verb: str) -> Preview:
    """Return what `verb` would do to all of `attempts`, counted exactly up to `MOST_COUNTED`."""
    if (states := count_states(attempts)) is not None:
        return _preview(verb, [states] * len(_parts(verb)))
    # Each part by itself: it may be small, and the indexes of what is live or ended badly find it.
    statuses = [{_status(state) for state in part} for part in _parts(verb)]
    narrowed = [attempts.filter(status__in=some) for some in statuses]
    return _preview(verb, list(map(count_states, narrowed)))


def preview_of(attempts: Sequence[AbstractAttempt], verb: str) -> Preview:
    """Return what `verb` would do to these rows."""
    states = Counter(attempt.state for attempt in attempts)
    return _preview(verb, [states] * len(_parts(verb)))


def _parts(verb: str) -> tuple[list[str], list[str], list[str]]:
    """Return the states that a verb changes, changes if asked to, and skips."""
    sources, if_asked = sources_of(verb), ONLY_IF_ASKED.get(verb, frozenset())
    return (
        [state for state in STATES if state in sources and state not in if_asked],
        [state for state in STATES if state in if_asked],
        [state for state in STATES if state not in sources],
    )


def _status(state: str) -> str:
    return Status.PENDING if state == RUNNING else state


def _preview(verb: str, counted: Sequence[Counter[str] | None]) -> Preview:
    """Return the preview. `counted`: for each of the parts its states, None for too many."""
    parts = _parts(verb)
    changing, if_asked, skipping = map(_listed, parts, counted)
    has_running = RUNNING in parts[0] and (counted[0] is None or counted[0][RUNNING] > 0)
    return Preview(changing, if_asked, skipping, has_running)


def _listed(part: Sequence[str], states: Counter[str] | None) -> str:
    """Return "40 pending, 2 running", or "more than 100,000 (pending, running)"; "" for none."""
    if states is None:
        return gettext("more than %(n)s (%(states)s)") % {
            "n": intcomma(MOST_COUNTED),
            "states": ", ".join(map(state_label, part)),
        }
    return ", ".join(f"{intcomma(states[s])} {state_label(s)}" for s in part if states[s])


def count_states(attempts: QuerySet[Any]) -> Counter[str] | None:
    """Count `attempts` by state, in one statement; return None for too many."""
    claimed = Q(claimed_by__isnull=False)
    conditions = {state: Q(status=state) for state in STATES}
    conditions[Status.PENDING] &= ~claimed
    conditions[RUNNING] = Q(status=Status.PENDING) & claimed
    some = attempts.order_by()[: MOST_COUNTED + 1]
    counts = some.aggregate(**{s: Count("pk", filter=which) for s, which in conditions.items()})
    states = Counter({state: n for state, n in counts.items() if n})
    return None if states.total() > MOST_COUNTED else states

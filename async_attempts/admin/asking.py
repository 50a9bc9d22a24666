"""What is said, asked and carried along before a verb is carried out."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final, NamedTuple

from django import forms
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from ..lifecycle import sources_of
from ..models import AttemptQuerySet
from ..worker.errors import REASON_LENGTH
from .cells import state_label
from .counting import COUNT_CAP


class Wording(NamedTuple):
    """How a verb is offered, and what is said before it is carried out."""

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
        _("They are due again now, and their executions are counted anew."),
    ),
}


class ReasonForm(forms.Form):
    """Why somebody expires or fails attempts; it is kept with them and in the admin's log."""

    reason = forms.CharField(
        label=_("Reason"),
        max_length=REASON_LENGTH,
        widget=forms.TextInput(attrs={"class": "vTextField", "autofocus": True}),
        help_text=_("Kept with each attempt, for whoever reads it next."),
    )


def preview(attempts: AttemptQuerySet[Any], verb: str) -> dict[str, Any]:
    """Which states `verb` would find `attempts` in: those that it changes, and the others."""
    some = attempts.only("status", "claimed_by")[: COUNT_CAP + 1]
    states = Counter(attempt.state for attempt in some)
    return {
        "changing": _listed({s: n for s, n in states.items() if s in sources_of(verb)}),
        "skipping": _listed({s: n for s, n in states.items() if s not in sources_of(verb)}),
        "is_capped": states.total() > COUNT_CAP,
        "count_cap": COUNT_CAP,
    }


def _listed(states: dict[str, int]) -> str:
    """E.g. "40 pending, 2 running"."""
    return ", ".join(f"{n} {state_label(state)}" for state, n in states.items())

"""Attempts that wait for a key that workers lack: how their rows say so, and how many there are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from django.db.models import Count, Q

from ..encryption import Stored, format_of, key_id_of
from ..lifecycle import LIVE, Status
from ..models.sizes import Octets
from .depending import Depending
from .headers import HEADER

REASON: Final = "sealed with key "
REST: Final = ", which ASYNC_ATTEMPTS['KEYS'] doesn't have"
RETIRED: Final = ", which is retired: see manage.py attempts rotate-keys"
FORM: Final = "stored in a form that this release doesn't know: "

UNNAMED: Final = "unnamed"
KEY_ID_LENGTH: Final = 64
LONGEST_REASON: Final = (
    max(len(REASON) + max(len(REST), len(RETIRED)), len(FORM)) + 4 * KEY_ID_LENGTH
)
"""The bytes of the longest reason that names a key or a form."""

TELLS: Final = Q(reason__startswith=REASON) | Q(reason__startswith=FORM)
WAITS: Final = TELLS & Q(status=Status.SCHEDULED)
"""True for an attempt that was put off as a worker lacked what opens it."""


def reason_for(key_id: str, *, is_retired: bool = False) -> str:
    """The reason of an attempt that waits for this key; `key_id`: "" if it is unknown."""
    return f"{REASON}{key_id or UNNAMED}{RETIRED if is_retired else REST}"


def reason_for_form(form: str) -> str:
    """The reason of an attempt that waits for a release that knows this form."""
    return f"{FORM}{form}"


def is_form(name: str) -> bool:
    """True if a name of what is missing is a form's: ids of the shipped ciphers have no blank."""
    return " " in name


def _said_in(reason: str) -> str:
    """The id of the key, or the form, that a reason tells."""
    return reason.removeprefix(REASON).removeprefix(FORM).removesuffix(REST).removesuffix(RETIRED)


class MissingKeysCount(Depending):
    """Reads only."""

    def count_missing_keys(self) -> dict[str, int]:
        """Return how many scheduled and pending attempts wait for which key, by its id.

        An attempt in a form that a worker didn't know is counted by the form's name, "format 7".
        Counted are attempts whose reason says so, since a worker tried them, and those that claims
        pass over for the same header.
        """
        found: Counter[str] = Counter()
        # One statement for each status, since each has an index of its own.
        for status in (Status.SCHEDULED, Status.PENDING):
            rows = self.attempts.filter(TELLS, status=status)
            # What is longer, no worker wrote.
            rows = rows.alias(size=Octets("reason")).filter(size__lte=LONGEST_REASON)
            counted = rows.values("reason").annotate(number=Count("pk"))
            for reason, number in counted.values_list("reason", "number"):
                found[_said_in(reason)] += number
        if found:
            # Read row by row, which only those pay who lack a key.
            for header, number in self._untried():
                names = key_id_of(header), format_of(header)
                if name := next((one for one in names if one in found), None):
                    found[name] += number
        return dict(found.most_common())

    def _untried(self) -> Iterator[tuple[Stored, int]]:
        """The headers of what is pending and says nothing, each with the number of its attempts."""
        rows = self.attempts.filter(status=Status.PENDING, claimed_by=None)
        rows = rows.exclude(TELLS).annotate(header=HEADER)
        counted = rows.order_by().values("header").annotate(number=Count("pk"))
        return counted.values_list("header", "number").iterator()

    def sample_keys(self, most: int) -> Counter[str]:
        """By which keys live attempts are sealed: of `most` of each status, not of all.

        A value of a version that this release doesn't know is counted by that version.
        """
        found: Counter[str] = Counter()
        for status in sorted(LIVE):
            rows = self.attempts.filter(status=status).annotate(header=HEADER)
            if status == Status.SCHEDULED:
                # What waits for a key is due within the hour, and comes first by that index.
                rows = rows.order_by("scheduled_at", "id")
            for stored in map(bytes, rows.values_list("header", flat=True)[:most]):
                found[key_id_of(stored) or format_of(stored)] += 1
        return found

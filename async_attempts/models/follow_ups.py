"""Attempts that follow a bad end: noted on a row when it is enqueued, made of that when it ends.

Whoever ends an attempt may know neither its target's code nor its keys. So the note names the
function to be called and its options, and the new attempt has no arguments of its own: they are
those of the attempt that it follows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, Self

from ..exceptions import InvalidArguments
from ..printable import printable
from .bounds import MAX_METADATA_BYTES
from .dependency import Dependency

NO_ARGS: Final = b""
"""The column `args` of an attempt that is called with another one's arguments."""

ENDED: Final = "ended"
"""The key in its metadata that tells what it follows: an `End`."""

REASON_LENGTH: Final = 1000
"""Characters of the reason that are handed on; the whole one may be larger than the metadata."""

NOTED: Final = ("target", "method_name", "queue", "priority", "keep_result", "limit_key")
NOTED_TOO: Final = ("concurrency", "on_ended")


class End(NamedTuple):
    """The end that an attempt follows. `execution`: the number of the last execution, or 0."""

    attempt: str
    status: str
    reason: str
    error_class: str
    execution: int

    @classmethod
    def of(cls, metadata: Mapping[str, Any]) -> Self | None:
        """Return what the metadata of an attempt tell; None if they tell nothing, or nonsense."""
        told = metadata.get(ENDED)
        if not isinstance(told, dict) or told.keys() != set(cls._fields):
            return None
        types = {name: type(value) for name, value in told.items()}
        expected = dict.fromkeys(cls._fields, str) | {"execution": int}
        return cls(**told) if types == expected else None


class FollowUp(NamedTuple):
    """A new row, and those of its moments that are seconds from the database's now, by column."""

    row: Any
    relative: Mapping[str, float]


def note_of(row: Any, relative: Mapping[str, float], *, on_instance: bool) -> dict[str, Any]:
    """Return what is to be noted of a row that may follow; see `new_rows.fill_in`.

    `on_instance`: it is called on the same model instance as the attempt that it follows.
    """
    noted = {name: getattr(row, name) for name in (*NOTED, *NOTED_TOO)}
    return noted | {"on_instance": on_instance, "relative": dict(relative)}


def follow_up(ended: Any) -> FollowUp | None:
    """Return what follows this attempt, which has failed or expired; None if nothing does.

    What somebody has written into the note makes nothing run: before the new attempt is performed,
    it is compared with the code.
    """
    noted = _noted(ended.on_ended, str(ended.status))
    if noted is None:
        return None
    row = type(ended)(**{name: noted[name] for name in (*NOTED, *NOTED_TOO)})
    row.target_pk = ended.target_pk if noted["on_instance"] else None
    row.args = NO_ARGS
    row.subject_type, row.subject_id = ended.subject_type, ended.subject_id
    reason = ended.reason[:REASON_LENGTH]
    end = End(str(ended.pk), str(ended.status), reason, ended.error_class, ended.num_attempts)
    row.metadata = _with_end(ended.metadata, end)
    return FollowUp(row, noted["relative"])


def noted_targets(note: str | None) -> list[tuple[str, str]]:
    """Return what a note says: the status of an end, and the target that follows it."""
    return [
        (status, printable(f"{noted['target']}.{noted['method_name']}"))
        for status in ("failed", "expired")
        if note and (noted := _noted(note, status)) is not None
    ]


def followed_by(row: Any) -> Any:
    """Return the attempt that this one follows, whose arguments are its own.

    Raises InvalidArguments if it isn't there.
    """
    edges = Dependency.objects.using(row._state.db).filter(attempt_id=row.pk)
    rows = type(row)._base_manager.using(row._state.db)
    found = rows.filter(pk__in=edges.values("prerequisite_id")).first()
    if found is None:
        raise InvalidArguments(
            f"{row} has the arguments of the attempt that it follows, which was deleted."
        )
    return found


def _noted(note: str, status: str) -> Any:
    """Return what the note has for this status; None for nothing, or what isn't our note."""
    try:
        noted = json.loads(note).get(status)
        return noted if noted is None or {*NOTED, *NOTED_TOO} <= noted.keys() else None
    except (ValueError, AttributeError, RecursionError):
        return None


def _with_end(metadata: Any, end: End) -> dict[str, Any]:
    """Return the metadata of an attempt for the one that follows it, if they fit beside the end."""
    told = {ENDED: end._asdict()}
    both = {**metadata, **told} if isinstance(metadata, dict) else told
    # The database may write a character in more bytes than Python does, or with more spaces.
    return both if 2 * len(json.dumps(both)) <= MAX_METADATA_BYTES else told

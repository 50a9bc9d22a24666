"""Ends of attempts, and their results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.db.models import F

from ..batches import in_batches
from ..exceptions import InvalidArguments, ResultNotKept, UnknownKey, UnknownType
from ..lifecycle import FINAL, GONE, NOT_KEPT, FailureKind, Status
from ..models import AbstractAttempt, Failure
from ..models.fields import Mark, marked
from ..models.large_values import Octets
from ..payload.limits import MOST_DETAILS_BYTES, ResultTooLarge
from ..plaintext import hides_arguments
from ..store import Store, store_for

COLUMNS: Final = (
    *marked(AbstractAttempt, Mark.BOUND),
    *"status claimed_by progress progress_note sealed_result".split(),
    *"error_class failure_kind reason".split(),
)


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of one attempt.

    `status`: succeeded, failed or expired; waiting, pending or scheduled for one that hasn't ended;
    "gone" for one that was deleted. `stored_result`: what the target returned, None if that wasn't
    kept, as `keeps_result` says; see `result`. `error_class`, `message`: of the last execution that
    failed, else empty and the reason why it failed or expired. `reason`: why it ended so, if
    somebody said it or the worker knows. `failure_kind`: of the failure that ended it.
    `unopened`: why this process can't read the result, None if it can.
    """

    attempt_id: UUID
    status: str
    target: str = ""
    method_name: str = ""
    stored_result: Any = field(default=None, repr=False)
    error_class: str = ""
    message: str = field(default="", repr=False)
    keeps_result: bool = True
    unopened: UnknownKey | UnknownType | InvalidArguments | None = field(default=None, repr=False)
    reason: str = ""
    failure_kind: str = ""

    @property
    def result(self) -> Any:
        """The target's return value; None unless it succeeded.

        Raises ResultNotKept for something that nobody asked to keep: that isn't None; UnknownKey if
        this process lacks the key of the result, UnknownType if it lacks the type; InvalidArguments
        if it is too large to be read.
        """
        if self.unopened is not None:
            raise self.unopened
        if self.succeeded and not self.keeps_result:
            raise ResultNotKept(self)
        return self.stored_result

    @property
    def succeeded(self) -> bool:
        return self.status == Status.SUCCEEDED

    @property
    def refused(self) -> bool:
        """True if its target raised `Refused`, or an error that its author expects."""
        return self.failure_kind == FailureKind.REFUSED


class Found(NamedTuple):
    """The row of an attempt, None if it was deleted, and its last failure, if it didn't succeed."""

    row: Any
    failure: Failure | None = None

    @property
    def state(self) -> str:
        """Its state, or "gone"."""
        return GONE if self.row is None else str(self.row.state)

    @property
    def is_over(self) -> bool:
        """True if it has ended, or is gone."""
        return self.row is None or self.row.status in FINAL

    @property
    def succeeded(self) -> bool:
        return self.row is not None and self.row.status == Status.SUCCEEDED

    @property
    def is_lost(self) -> bool:
        """True if it has ended, and did not succeed."""
        return self.is_over and not self.succeeded


DELETED: Final = Found(None)


def find(store: Store, ids: Iterable[UUID]) -> dict[UUID, Found]:
    """Return the ones of these attempts that exist, by one statement; by two if any was lost."""
    found: dict[UUID, Found] = {}
    for some in in_batches(ids):
        rows = [Found(row) for row in store.database.attempts.filter(pk__in=some).only(*COLUMNS)]
        failures = _last_failures(store, {one.row.pk: one.row for one in rows if one.is_lost})
        found |= {row.pk: Found(row, failures.get(row.pk)) for row, _ in rows}
    return found


def endings_in_order(ids: Sequence[UUID], database: str) -> list[Ending]:
    """Return the endings of these attempts. Raises what reading a stored result raises."""
    found = find(store_for(database), ids)
    return [ending_of(pk, found.get(pk, DELETED)) for pk in ids]


@hides_arguments
def ending_of(pk: UUID, found: Found) -> Ending:
    """Return its end. Raises what opening its result raises, but for a missing key."""
    row = found.row
    if row is None:
        return Ending(pk, GONE, message="the attempt was deleted")
    result, unopened = _result_of(row)
    return Ending(
        pk,
        str(row.status),
        row.target,
        row.method_name,
        result,
        row.error_class if found.is_lost else "",
        _message_of(found) if found.is_lost else "",
        not found.succeeded or row.sealed_result != NOT_KEPT,
        unopened,
        row.reason if found.is_lost else "",
        row.failure_kind or "",
    )


def _result_of(row: Any) -> tuple[Any, UnknownKey | UnknownType | InvalidArguments | None]:
    """Return its result, or why it can't be read here; None of one that is live."""
    if row.status != Status.SUCCEEDED:
        return None, None
    try:
        result = row.stored_result
    except (UnknownKey, UnknownType, ResultTooLarge) as error:
        # A caller that only waits is told how it ended: a process that enqueues may have no key.
        return None, error
    return result, None


def _message_of(found: Found) -> str:
    """The message of its last error, else the reason why it ended."""
    said = found.failure.message if found.failure is not None else ""
    return said or str(found.row.reason)


def _last_failures(store: Store, rows: Mapping[UUID, Any]) -> dict[UUID, Failure]:
    """The failures of the last executions of these attempts."""
    if not rows:
        return {}
    last = store.database.failures.filter(attempt_id__in=rows, number=F("attempt__num_attempts"))
    # No worker writes a longer one.
    last = last.alias(size=Octets("details")).filter(size__lte=MOST_DETAILS_BYTES)
    failures: dict[UUID, Failure] = {}
    for failure in last.order_by("failed_at", "id"):
        failure.attempt = rows[failure.attempt_id]
        failures[failure.attempt_id] = failure
    return failures

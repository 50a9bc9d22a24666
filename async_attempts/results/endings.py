"""How attempts ended, for those that come after them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from django.db.models import F

from ..exceptions import InvalidArguments, ResultNotKept, UnknownKey
from ..lifecycle import FINAL, GONE, NOT_KEPT, Status
from ..models.sizes import Octets
from ..payload.limits import MOST_DETAILS_BYTES, ResultTooLarge
from ..plaintext import hides_arguments
from ..store import Store
from ..store.chunks import in_batches

COLUMNS: Final = (
    "id status target target_pk method_name idempotence_token sealed_result error_class reason"
).split()


@dataclass(frozen=True, slots=True)
class Ending:
    """How one attempt ended.

    `status`: succeeded, failed or expired; waiting, pending or scheduled for one that hasn't ended;
    "gone" for one that was deleted. `stored_result`: what the target returned, None if that wasn't
    kept, as `keeps_result` says; see `result`. `error_class`, `message`: of the last execution that
    failed, else empty and the reason why it failed or expired. `unopened`: why this process can't
    read the result, None if it can.
    """

    attempt_id: UUID
    status: str
    target: str = ""
    method_name: str = ""
    stored_result: Any = field(default=None, repr=False)
    error_class: str = ""
    message: str = field(default="", repr=False)
    keeps_result: bool = True
    unopened: UnknownKey | InvalidArguments | None = field(default=None, repr=False)

    @property
    def result(self) -> Any:
        """What the target returned; None unless it succeeded.

        Raises ResultNotKept for something that nobody asked to keep: that isn't None; UnknownKey if
        this process lacks the key of the result; InvalidArguments if it is too large to be read.
        """
        if self.unopened is not None:
            raise self.unopened
        if self.succeeded and not self.keeps_result:
            raise ResultNotKept(self)
        return self.stored_result

    @property
    def succeeded(self) -> bool:
        return self.status == Status.SUCCEEDED


@hides_arguments
def endings_of(store: Store, ids: Sequence[UUID]) -> dict[UUID, Ending]:
    """How each of these attempts ended."""
    endings = {pk: Ending(pk, GONE, message="the attempt was deleted") for pk in ids}
    for some in in_batches(ids):
        rows = store.database.attempts.filter(pk__in=some).only(*COLUMNS)
        failed = {row.pk: row for row in rows if row.status in FINAL - {Status.SUCCEEDED}}
        messages = _messages(store, failed.values())
        for row in rows:
            result, unopened = _result_of(row)
            endings[row.pk] = Ending(
                row.pk,
                str(row.status),
                row.target,
                row.method_name,
                result,
                row.error_class if row.pk in failed else "",
                messages.get(row.pk, ""),
                row.status != Status.SUCCEEDED or row.sealed_result != NOT_KEPT,
                unopened,
            )
    return endings


def _result_of(row: Any) -> tuple[Any, UnknownKey | InvalidArguments | None]:
    """What it returned, or why that can't be read here; None of an attempt that hasn't ended."""
    if row.status != Status.SUCCEEDED:
        return None, None
    try:
        result = row.stored_result
    except (UnknownKey, ResultTooLarge) as error:
        # A caller that only waits is told how it ended: a process that enqueues may have no key.
        return None, error
    return result, None


def _messages(store: Store, rows: Iterable[Any]) -> dict[UUID, str]:
    """What the last error of each of these attempts said, else why they ended."""
    by_id = {row.pk: row for row in rows}
    messages = {pk: row.reason for pk, row in by_id.items()}
    last = store.database.failures.filter(attempt_id__in=by_id, number=F("attempt__num_attempts"))
    # What is larger was not written by a worker.
    last = last.alias(size=Octets("details")).filter(size__lte=MOST_DETAILS_BYTES)
    for failure in last.order_by("failed_at", "id"):
        failure.attempt = by_id[failure.attempt_id]
        messages[failure.attempt_id] = failure.message or messages[failure.attempt_id]
    return messages

"""How attempts ended, for those that come after them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from django.db.models import F

from ..encryption import Context, open_sealed
from ..exceptions import InvalidArguments, ResultNotKept
from ..lifecycle import FINAL, GONE, NOT_KEPT, Status
from ..models import Dependency
from ..payload import Handed, load_value
from ..store import Store, store_for
from ..store.depending import in_batches
from ..store.handing import HandedOver

COLUMNS: Final = "id status target target_pk method_name sealed_result error_class reason".split()


@dataclass(frozen=True, slots=True)
class Ending:
    """How one attempt ended.

    `status`: succeeded, failed or expired; waiting, pending or scheduled for one that hasn't ended;
    "gone" for one that was deleted. `stored_result`: what the target returned, None if that wasn't
    kept, as `keeps_result` says; see `result`. `error_class`, `message`: of the last execution that
    failed, else empty and the reason why it failed or expired.
    """

    attempt_id: UUID
    status: str
    target: str = ""
    method_name: str = ""
    stored_result: Any = field(default=None, repr=False)
    error_class: str = ""
    message: str = field(default="", repr=False)
    keeps_result: bool = True

    @property
    def result(self) -> Any:
        """What the target returned; None unless it succeeded.

        Raises ResultNotKept for something that nobody asked to keep: that isn't None.
        """
        if self.succeeded and not self.keeps_result:
            raise ResultNotKept(self)
        return self.stored_result

    @property
    def succeeded(self) -> bool:
        return self.status == Status.SUCCEEDED


def prerequisites(attempt_id: UUID, database: str) -> list[Ending]:
    """How those ended that an attempt waited for: what is handed over first, in its order."""
    store = store_for(database)
    edges = _edges(store, attempt_id)
    endings = endings_of(store, [edge.prerequisite_id for edge in edges])
    return [endings[edge.prerequisite_id] for edge in edges]


def handed_over(handed: Handed, attempt_id: UUID, database: str) -> Any:
    """What stands in for `handed` in the arguments of an attempt that is performed now."""
    store = store_for(database)
    if handed in (Handed.RESULT, Handed.RESULTS):
        results = [_result_of(one) for one in store.handed_to(attempt_id)]
        return results if handed is Handed.RESULTS else results[0]
    edges = [edge for edge in _edges(store, attempt_id) if edge.place is not None]
    if handed is Handed.ERROR:
        causes = [edge.cause or edge.prerequisite_id for edge in edges]
        return next(iter(endings_of(store, causes[:1]).values()), None)
    endings = endings_of(store, [edge.prerequisite_id for edge in edges])
    return [endings[edge.prerequisite_id] for edge in edges]


def _result_of(one: HandedOver) -> Any:
    if one.status != Status.SUCCEEDED:
        raise InvalidArguments(f"The result of {one.id}, which is {one.status or GONE}.")
    if not one.sealed_result:
        return None
    context = Context("result", one.id, one.target, one.target_pk, one.method_name)
    return load_value(open_sealed(one.sealed_result, context))


def endings_of(store: Store, ids: Sequence[UUID]) -> dict[UUID, Ending]:
    """How each of these attempts ended."""
    endings = {pk: Ending(pk, GONE, message="the attempt was deleted") for pk in ids}
    for some in in_batches(ids):
        rows = store.attempts.filter(pk__in=some).only(*COLUMNS)
        failed = {row.pk: row for row in rows if row.status in FINAL - {Status.SUCCEEDED}}
        messages = _messages(store, failed.values())
        for row in rows:
            endings[row.pk] = Ending(
                row.pk,
                str(row.status),
                row.target,
                row.method_name,
                row.stored_result if row.status == Status.SUCCEEDED else None,
                row.error_class if row.pk in failed else "",
                messages.get(row.pk, ""),
                row.status != Status.SUCCEEDED or row.sealed_result != NOT_KEPT,
            )
    return endings


def _edges(store: Store, attempt_id: UUID) -> list[Dependency]:
    edges = list(store.dependencies.filter(attempt_id=attempt_id))
    return sorted(edges, key=lambda edge: (edge.place is None, edge.place, edge.pk))


def _messages(store: Store, rows: Iterable[Any]) -> dict[UUID, str]:
    """What the last error of each of these attempts said, else why they ended."""
    by_id = {row.pk: row for row in rows}
    messages = {pk: row.reason for pk, row in by_id.items()}
    last = store.failures.filter(attempt_id__in=by_id, number=F("attempt__num_attempts"))
    for failure in last.order_by("failed_at", "id"):
        failure.attempt = by_id[failure.attempt_id]
        messages[failure.attempt_id] = failure.message or messages[failure.attempt_id]
    return messages

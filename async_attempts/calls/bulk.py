"""Many calls at once, in a few statements."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, overload

from ..batches import in_batches
from ..exceptions import InvalidOption
from ..ids import uuid7s
from ..models import get_attempt_model
from ..models.row_template import RowTemplate, template_of
from ..models.saving import by_database, database_of
from ..plaintext import hides_arguments
from ..store import store_for
from .flow import Call
from .rows import write

if TYPE_CHECKING:
    from ..models import Attempt

Part: TypeAlias = "tuple[list[Attempt], RowTemplate | None]"

CALLS_AT_A_TIME: Final = 500


@overload
def enqueue_many(calls: Iterable[Call], *, returning: Literal[True] = True) -> list[Attempt]: ...
@overload
def enqueue_many(calls: Iterable[Call], *, returning: Literal[False]) -> int: ...
@hides_arguments
def enqueue_many(calls: Iterable[Call], *, returning: bool = True) -> list[Attempt] | int:
    """Write all of `calls` or none, in a few statements; return their rows in the same order.

    Of debounced or throttled calls of one key the last one counts; all get its row.
    `returning=False`: for any number of calls, such as a generator's, all for one database. They
    are written as they come, in one transaction, and no rows are held; returns the number of new
    rows.
    """
    all_taken = map(taken, calls)
    if returning:
        return write(*_rows(list(all_taken)))
    parts = _parts(all_taken)
    if (first := next(parts, None)) is None:
        return 0
    alias = database_of(first[0][0])
    return store_for(alias).attempts.insert_parts(_of_one_database(alias, chain([first], parts)))


def taken(one: Any) -> Any:
    """Return `one`; if it is a call, it no longer warns that it was never enqueued.

    All calls of a list are taken before any is checked: those beside a wrong one don't warn, too.
    """
    return one.use() if isinstance(one, Call) else one


def _parts(calls: Iterable[Call]) -> Iterator[Part]:
    """Yield the rows of CALLS_AT_A_TIME calls each."""
    index = 0
    for some in in_batches(calls, CALLS_AT_A_TIME):
        yield _rows(some, index)
        index += len(some)


def _of_one_database(alias: str, parts: Iterable[Part]) -> Iterator[Part]:
    """Yield `parts`. Raises InvalidOption at the first row for another database."""
    for attempts, template in parts:
        for other, [index, *_] in by_database(attempts, are_alike=template is not None).items():
            if other != alias:
                raise InvalidOption(
                    f"database: {attempts[index]} goes to {other!r}, and the first call to "
                    f"{alias!r}; with returning=False enqueue the calls of each database by "
                    "themselves."
                )
        yield attempts, template


def _rows(calls: Sequence[Call], first: int = 0) -> Part:
    """Return the rows of `calls`, and their template if all have the same.

    `first`: the index of the first one, for error messages.
    """
    for index, one in enumerate(calls, first):
        if not isinstance(one, Call):
            raise InvalidOption(
                f"calls[{index}]: {type(one).__name__}; wrap each in call(function, …)."
            )
    template = _template_of(calls)
    if template is None:
        return [one.attempt() for one in calls], None
    keys = uuid7s(len(calls))
    rows = [template.row(key, one.arguments) for key, one in zip(keys, calls, strict=True)]
    if (database := calls[0].options.get("database")) is not None:
        for row in rows:
            row._state.db = database
    return rows, template


def _template_of(calls: Sequence[Call]) -> RowTemplate | None:
    """Return the template of all these calls; None if they differ in more than arguments."""
    if not calls or not calls[0].has_no_options:
        return None
    target, options = calls[0].target, calls[0].options
    if any(one.target is not target or one.options != options for one in calls):
        return None
    return template_of(get_attempt_model(), target)

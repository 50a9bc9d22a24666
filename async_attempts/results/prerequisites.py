"""The prerequisites of an attempt that is performed: checked first, then handed over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from ..encryption import context_of, may_be_unbound, open_sealed
from ..exceptions import InvalidArguments, Tampered
from ..lifecycle import GONE, Status
from ..models import Condition
from ..models.dependency import Prerequisite, digest_of
from ..payload import Arguments, Handed, load_value
from ..payload.limits import refuse_large
from ..printable import printable
from ..store import Claim, store_for
from ..store.prerequisites import PrerequisiteRow
from .outcomes import Ending, endings_in_order


def handed_over(
    claim: Claim, arguments: Arguments, bound_to: str
) -> tuple[Arguments, tuple[UUID, ...]]:
    """The arguments with what prerequisites hand over, and the ids of the prerequisites.

    `bound_to`: the digest that was sealed with the arguments. Raises Tampered if the prerequisites
    aren't those that the attempt was enqueued with, or one of them hasn't ended as it had to, or
    the result that has to prove it is missing or doesn't open; InvalidArguments if a result that is
    handed over is gone, or one is too large; what opening a result raises.
    """
    handed = arguments.args[0] if arguments.args else None
    is_old = not bound_to and may_be_unbound(claim.args or b"")
    if handed is Handed.RESULT and not (bound_to or is_old):
        # The results of none are an empty list; there is no one result of none.
        raise Tampered(f"Nothing binds attempt {claim.id} to what it is handed.")
    found: list[PrerequisiteRow] = []
    if bound_to or is_old:
        found = store_for(claim.database).prerequisites.of(claim.id)
    for one in found:
        refuse_large(one.id, one.size)
    if bound_to:
        _require_untouched(claim, found, bound_to)
    results = _results(claim.database, found)
    if type(handed) is Handed:
        value = _handed(claim.database, handed, found, results)
        arguments = Arguments(value, *arguments.args[1:], **arguments.kwargs)
    return arguments, tuple(one.id for one in found)


def _require_untouched(claim: Claim, found: Sequence[PrerequisiteRow], bound_to: str) -> None:
    if digest_of(Prerequisite(*one[:4]) for one in found) != bound_to:
        raise Tampered(f"The prerequisites of attempt {claim.id} were altered.")
    for one in found:
        if (problem := _problem_of(one)) is not None:
            raise Tampered(
                f"Attempt {one.id}, which attempt {claim.id} has waited for, was altered: it is "
                f"{problem}."
            )


def _problem_of(one: PrerequisiteRow) -> str | None:
    """The state of a prerequisite that the package would not have let its dependent begin in."""
    needs_success = one.condition == Condition.SUCCESS
    if one.status is None:
        # If its result was to be handed over, that is missing anyway.
        is_unproven = needs_success and one.needs_result and one.place is None
        return "deleted, so that nothing proves its success" if is_unproven else None
    if needs_success and one.status != Status.SUCCEEDED:
        return printable(one.status)
    if one.needs_result and one.status == Status.SUCCEEDED and not one.sealed_result:
        return "succeeded, without a stored result"
    return None


def _results(database: str, found: Sequence[PrerequisiteRow]) -> dict[UUID, Any]:
    """The results of prerequisites that hand one over or have to prove that they succeeded."""
    results = {}
    for one in found:
        if one.sealed_result and one.status == Status.SUCCEEDED:
            context = context_of("result", one.id, one, database)
            plaintext = open_sealed(one.sealed_result, context)
            if one.place is not None:
                results[one.id] = load_value(plaintext)
    return results


def _first_error(one: PrerequisiteRow, database: str) -> Ending:
    """The ending of the first attempt that failed or expired, on the way to this prerequisite.

    Nothing binds which one that was: so no result of another one is handed over.
    """
    cause = one.cause or one.id
    [ending] = endings_in_order([cause], database)
    return ending if cause == one.id else replace(ending, stored_result=None, keeps_result=False)


def _handed(
    database: str, handed: Handed, found: Sequence[PrerequisiteRow], results: dict[UUID, Any]
) -> Any:
    """The value that stands in for `handed` among the arguments."""
    ones = [one for one in found if one.place is not None]
    if handed in (Handed.RESULT, Handed.RESULTS):
        for one in ones:
            if one.status != Status.SUCCEEDED:
                raise InvalidArguments(f"The result of {one.id}, which is {one.status or GONE}.")
        values = [results.get(one.id) for one in ones]
        return values if handed is Handed.RESULTS else values[0]
    if handed is Handed.ERROR:
        return next((_first_error(one, database) for one in ones), None)
    return endings_in_order([one.id for one in ones], database)

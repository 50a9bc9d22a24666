"""Preparation of a call: its arguments are authenticated before its target is looked up."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

from ...conf import SETTING, defaults_of
from ...encryption import UNBOUND, open_sealed
from ...exceptions import InvalidArguments
from ...models.bounds import MAX_METADATA_BYTES
from ...models.follow_ups import NO_ARGS
from ...payload import Arguments, Handed, load_bound
from ...payload.limits import most_args_bytes
from ...plaintext import hide_values
from ...results import arguments_of_follow_up, handed_over
from ...store import Claim, store_for
from ...targets import Target, resolve


class Prepared(NamedTuple):
    """A claim, what it calls, with what arguments, and the ids of its prerequisites."""

    claim: Claim
    resolved: Target
    arguments: Arguments
    prerequisites: tuple[UUID, ...] = ()

    @property
    def timeout(self) -> float:
        """Seconds that the call may take."""
        given = self.claim.timeout or self.resolved.policy.timeout
        return given or defaults_of(self.claim.queue).timeout


def prepare(claim: Claim) -> Prepared:
    """Open the arguments of `claim` and find its target.

    Raises what opening and finding raise: see `outcomes.outcome_of_preparing`, and
    `missing_keys` for what can't be opened.
    """
    if claim.args is None or claim.metadata_json is None:
        raise _too_large(claim)
    try:
        if claim.args == NO_ARGS:
            arguments, followed = arguments_of_follow_up(claim)
            return Prepared(claim, resolve(claim, claim.database), arguments, (followed,))
        plaintext = open_sealed(claim.args, claim.context("args"))
        resolved = resolve(claim, claim.database)
        arguments, bound_to = load_bound(plaintext)
        is_handed = bool(arguments.args) and type(arguments.args[0]) is Handed
        if bound_to or is_handed or claim.args[0] == UNBOUND:
            arguments, prerequisites = handed_over(claim, arguments, bound_to)
            return Prepared(claim, resolved, arguments, prerequisites)
        return Prepared(claim, resolved, arguments)
    except BaseException as error:
        hide_values(error)
        raise


def _too_large(claim: Claim) -> InvalidArguments:
    """The error for a claim without the column that is over its limit."""
    size_of = store_for(claim.database).database.size_of
    if claim.args is None:
        return InvalidArguments(
            f"The stored arguments have {size_of(claim.id, 'args')} bytes, more than "
            f"{SETTING}['MAX_ARGS_BYTES'] allows ({most_args_bytes()} with the envelope)."
        )
    return InvalidArguments(
        f"The stored metadata have {size_of(claim.id, 'metadata')} bytes, more than the "
        f"{MAX_METADATA_BYTES} that are allowed."
    )

"""From a claim to a call that is ready: authenticated first, so a forged row gets nowhere."""

from __future__ import annotations

from typing import Final, NamedTuple
from uuid import UUID

from ..conf import SETTING, settings
from ..encryption import open_sealed
from ..exceptions import InvalidArguments
from ..payload import Arguments, load_bound
from ..plaintext import hide_values
from ..results import handed_over
from ..store import Claim
from ..targets import Resolved, TargetName, resolve

ENVELOPE_BYTES: Final = 1024
"""More than any cipher adds to what it encrypts."""


class Prepared(NamedTuple):
    """A claim, what it calls, with what arguments, and the ids of its prerequisites."""

    claim: Claim
    resolved: Resolved
    arguments: Arguments
    prerequisites: tuple[UUID, ...] = ()

    @property
    def timeout(self) -> float:
        """Seconds that the call may take."""
        given = self.claim.timeout or self.resolved.policy.timeout
        return given or settings().DEFAULT_TIMEOUT


def prepared(claim: Claim) -> Prepared:
    """Open the arguments of `claim` and find its target.

    Raises what opening and finding raise: see `errors.outcome_of_preparing`, and
    `missing_keys` for what can't be opened.
    """
    limit = settings().MAX_ARGS_BYTES + ENVELOPE_BYTES
    if len(claim.args) > limit:
        raise InvalidArguments(
            f"The stored arguments have {len(claim.args)} bytes, more than "
            f"{SETTING}['MAX_ARGS_BYTES'] allows ({limit} with the envelope)."
        )
    try:
        plaintext = open_sealed(claim.args, claim.context("args"))
        name = TargetName(claim.target, claim.target_pk, claim.method_name)
        resolved = resolve(name, claim.database)
        arguments, prerequisites = handed_over(claim, *load_bound(plaintext))
    except BaseException as error:
        hide_values(error)
        raise
    return Prepared(claim, resolved, arguments, prerequisites)

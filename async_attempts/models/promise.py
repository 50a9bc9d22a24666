"""Making a new row promise its call: target, sealed arguments, and the options then in force."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from ..encryption import cipher, context_of, encrypt_many
from ..exceptions import InvalidOption
from ..lifecycle import Status
from ..payload import Arguments, bind, dump_arguments
from ..plaintext import Plaintext, hide_values
from ..targets import Policy, Target, limit_of, target_of
from .attempt import AbstractAttempt
from .beginning import Kind, untouched
from .clock import NOW
from .database import database_of
from .debounce import debounce_key_of
from .dependency import Prerequisite, digest_of, is_new, prerequisites_of
from .saving import MOMENTS, check_options, refuse_given_state
from .unique_keys import key_of_tick, key_of_token
from .validation import as_seconds

DEFAULT_QUEUE: Final = "default"
FILLED_IN: Final = (
    "target target_pk method_name queue priority keep_result unique_key limit_key "
    "concurrency".split()
)
DUE_NOW: Final = {
    "status": Status.PENDING,
    "scheduled_at": NOW,
    "created_at": NOW,
    "created": False,
}
"""The beginning of a row of a kind."""


class Promised(NamedTuple):
    """A row of which only the encrypted arguments are missing.

    `plaintext`: the arguments. `relative`: those moments that are given as seconds from the
    database's now, by column. `kind`: the rows it is like, if it was given nothing but a target
    and arguments.
    """

    plaintext: Plaintext
    relative: dict[str, float]
    kind: Kind | None


class Promises(NamedTuple):
    """The arguments of many rows, in their order; `kind`, if all of them are of one."""

    plaintexts: Sequence[Plaintext]
    kind: Kind | None


def seal(
    attempt: AbstractAttempt,
    plaintext: Plaintext | None = None,
    prerequisites: Sequence[Prerequisite] = (),
) -> None:
    """Encrypt the arguments of a new row: `plaintext`, if `promise()` has returned that already.

    `prerequisites`: what they are bound to, if not to what the row was told to wait for.
    """
    if plaintext is None:
        plaintext = promise(attempt).plaintext
    if attempt.edges:
        new = {id(p): p for edge in attempt.edges if is_new(p := edge.prerequisite)}
        bound_to = prerequisites or prerequisites_of(attempt.edges, new)
        plaintext = bind(plaintext, digest_of(bound_to))
    context = context_of("args", attempt.id, attempt, database_of(attempt))
    try:
        attempt.__dict__["args"] = cipher().encrypt(plaintext, context)
    except BaseException as error:
        hide_values(error)
        raise


def take_place_of(attempt: AbstractAttempt, key: UUID) -> None:
    """Take the id of a row, and encrypt the arguments, checked before, for that one."""
    attempt.__dict__["id"] = key
    seal_again(attempt)


def seal_again(attempt: AbstractAttempt, prerequisites: Sequence[Prerequisite] = ()) -> None:
    """Encrypt the arguments, checked before, as `seal` does."""
    seal(attempt, dump_arguments(attempt._plain or Arguments()), prerequisites)


def promise(attempt: AbstractAttempt) -> Promised:
    """Check a new row, and fill in every column but the arguments.

    Raises InvalidTarget, InvalidArguments, InvalidOption; the row is not to be written then.
    """
    row = attempt.__dict__
    plain = untouched(type(attempt))
    is_untouched = (
        plain is not None and plain.read(row) == plain.values and attempt.debounce_options is None
    )
    is_untouched = is_untouched and not (attempt.edges or attempt.is_prerequisite)
    if attempt._plain is None and attempt.args:
        if "_loaded" in row:
            raise InvalidOption("method_args: give a copied row its arguments again.")
        raise InvalidOption(
            "args: is the column of the encrypted arguments; give them as method_args."
        )
    target = target_of(row["target"], row["method_name"] or None)
    arguments = attempt._plain or Arguments()
    target.signature.check(arguments.args, arguments.kwargs)
    kind: Kind | None = target.kinds.get(type(attempt)) if is_untouched else None
    relative: dict[str, float] = {}
    if kind is not None:
        row.update(kind.columns)
    else:
        relative = _fill_in(attempt, target)
        moments = row["scheduled_at"], row["expires_at"]
        is_alike = is_untouched and not callable(target.policy.limit_key)
        if is_alike and moments == (None, None) and attempt.debounce_key is None:
            columns = {column: row[column] for column in FILLED_IN} | DUE_NOW
            kind = Kind(type(attempt), columns, target.signature)
            row.update(DUE_NOW)
            target.kinds[type(attempt)] = kind
    row["_plain"] = arguments
    return Promised(dump_arguments(arguments), relative, kind)


def _fill_in(attempt: AbstractAttempt, target: Target) -> dict[str, float]:
    row, name, policy = attempt.__dict__, target.name, target.policy
    refuse_given_state(attempt)
    row["target"], row["target_pk"], row["method_name"] = name
    row["queue"] = row["queue"] or policy.queue or DEFAULT_QUEUE
    if (this := debounce_key_of(name, policy, attempt.debounce_options or {}, row)) is not None:
        attempt.debounce_key = this
    due = this.options.debounce if this else policy.delay
    for column, default in (
        ("priority", policy.priority or 0),
        ("keep_result", _keeps_result_by(attempt, policy)),
        ("scheduled_at", due),
        ("expires_at", policy.expires_after),
    ):
        if row[column] is None:
            row[column] = default
    limits = row["limit_key"], row["concurrency"]
    row["limit_key"], row["concurrency"] = limit_of(
        name, policy, limits, attempt._plain or Arguments()
    )
    relative = _relative_moments(row)
    check_options(attempt)
    row["unique_key"] = key_of_token(name, row["idempotence_token"])
    tick = row["scheduled_at"]
    if row["schedule"] is not None and isinstance(tick, datetime):
        row["unique_key"] = key_of_tick(row["schedule"], tick)
    return relative


def _keeps_result_by(attempt: AbstractAttempt, policy: Policy) -> bool:
    if policy.keep_result is None:
        return attempt.keeps_for_others
    return policy.keep_result


def _relative_moments(row: Mapping[str, Any]) -> dict[str, float]:
    given = [name for name in MOMENTS if row[name] is not None]
    relative = {name: as_seconds(name, row[name]) for name in given}
    return {moment: after for moment, after in relative.items() if after is not None}


def kind_of(model: type[AbstractAttempt], target: Any) -> Kind | None:
    """Return the kind of a row that is given nothing but this target and arguments.

    None if it can make no rows, or none was promised yet. Raises InvalidTarget.
    """
    kind: Kind | None = target_of(target).kinds.get(model)
    return kind if kind is not None and kind.makes_rows() else None


def seal_many(rows: Sequence[AbstractAttempt], promises: Promises) -> None:
    """Encrypt the arguments of each of `rows`, which are promised."""
    plaintexts, kind = promises
    if kind is None:
        for row, plaintext in zip(rows, plaintexts, strict=True):
            seal(row, plaintext)
        return
    ids = [row.id for row in rows]
    try:
        everything = encrypt_many(cipher(), plaintexts, rows[0].context("args"), ids)
    except BaseException as error:
        hide_values(error)
        raise
    for row, sealed in zip(rows, everything, strict=True):
        row.args = sealed

"""A new row before it is written: every column but the sealed arguments is filled in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ..conf import defaults_of, settings
from ..exceptions import InvalidOption
from ..payload import Arguments
from ..queue_defaults import QueueDefaults
from ..targets import (
    DebounceOptions,
    Policy,
    Target,
    end_handlers_of,
    has_end_handler,
    limit_of,
    queue_of,
    target_of,
)
from .follow_ups import note_of
from .saving import MOMENTS, check_options, refuse_given_state
from .subject import takes_subject
from .unique_keys import key_of_tick, key_of_token, shared_key_of
from .validation import as_seconds, check_backoff


def complete(attempt: Any) -> dict[str, float]:
    """Check a new row, and fill in every column but the sealed arguments.

    Returns those moments that are given as seconds from the database's now, by column. Raises
    InvalidTarget, InvalidArguments, InvalidOption; the row is not to be written then.
    """
    row = attempt.__dict__
    if attempt._plain is None and attempt.args:
        if "_loaded" in row:
            raise InvalidOption("method_args: give a copied row its arguments again.")
        raise InvalidOption(
            "args: is the column of the encrypted arguments; give them as method_args."
        )
    if "scheduled_at" not in row:
        raise InvalidOption(
            f"{attempt}: this object was enqueued before, and when it is due isn't known here; if "
            "its transaction was rolled back, make another one."
        )
    target = target_of(row["target"], row["method_name"] or None)
    arguments = row["_plain"] = attempt._plain or Arguments()
    target.signature.check(arguments.args, arguments.kwargs)
    return fill_in(attempt, target)


def fill_in(attempt: Any, target: Target) -> dict[str, float]:
    """Fill in the columns of a row that calls `target`; returns and raises as `complete`."""
    row, name, policy = attempt.__dict__, target.name, target.policy
    refuse_given_state(attempt)
    row["target"], row["target_pk"], row["method_name"] = name
    if name.target_pk is not None and takes_subject(attempt):
        row["subject_type"], row["subject_id"] = target.label, name.target_pk
    row["queue"] = row["queue"] or queue_of(name, policy)
    of_queue = defaults_of(settings().queue(row["queue"]))
    arguments = attempt._plain or Arguments()
    shared = shared_key_of(name, policy, attempt.key_options or {}, row, arguments)
    if shared is not None:
        attempt.shared_key = shared
    due = policy.delay
    if shared is not None and isinstance(shared.options, DebounceOptions):
        due = shared.options.debounce
    for column, default in (
        ("priority", _priority_by(policy, of_queue)),
        ("keep_result", _keeps_result_by(attempt, policy, of_queue)),
        ("scheduled_at", due),
        ("expires_at", policy.expires_after or of_queue.expires_after),
    ):
        if row[column] is None:
            row[column] = default
    limits = row["limit_key"], row["concurrency"]
    row["limit_key"], row["concurrency"] = limit_of(name, policy, limits, arguments)
    row["on_ended"] = _note_of_ends(attempt, target) if has_end_handler(policy) else None
    if policy.backoff is not None:
        check_backoff(policy.backoff)
    relative = _relative_moments(row)
    check_options(attempt)
    row["unique_key"] = key_of_token(name, row["idempotence_token"])
    tick = row["scheduled_at"]
    if row["schedule"] is not None and isinstance(tick, datetime):
        row["unique_key"] = key_of_tick(row["schedule"], tick)
    return relative


def _note_of_ends(attempt: Any, target: Target) -> str:
    """Return what is to follow this attempt, by the status that it may end with, as JSON."""
    notes = {}
    for status, handler in end_handlers_of(target).items():
        row = type(attempt)()
        relative = fill_in(row, handler)
        notes[status] = note_of(row, relative, on_instance=handler.needs_instance)
    return json.dumps(notes)


def _priority_by(policy: Policy, of_queue: QueueDefaults) -> int | str:
    return (of_queue.priority or 0) if policy.priority is None else policy.priority


def _keeps_result_by(attempt: Any, policy: Policy, of_queue: QueueDefaults) -> bool:
    if policy.keep_result is None:
        return bool(attempt.keeps_for_others or of_queue.keep_result)
    return policy.keep_result


def _relative_moments(row: Mapping[str, Any]) -> dict[str, float]:
    given = [name for name in MOMENTS if row[name] is not None]
    relative = {name: as_seconds(name, row[name]) for name in given}
    return {moment: after for moment, after in relative.items() if after is not None}

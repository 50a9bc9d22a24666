"""The arguments of an attempt that follows another one's bad end: that end, and then the same."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db.models import Subquery

from ..encryption import open_sealed
from ..exceptions import InvalidArguments, Tampered, UnknownTarget
from ..models.follow_ups import NO_ARGS, End
from ..models.large_values import require_fetched
from ..payload import Arguments, Handed, load_bound
from ..plaintext import hides_arguments
from ..store import Claim, Store, store_for
from ..targets import current_name, end_handler_of, target_named
from .outcomes import Ending


@hides_arguments
def arguments_of_follow_up(claim: Claim) -> tuple[Arguments, UUID]:
    """Return what a claimed attempt without arguments of its own is called with.

    The end that it follows, and the arguments of the attempt that ended; and that one's id.

    Nothing binds the claim to that attempt, so this requires that the code names the target of the
    one to follow the other. Raises UnknownTarget if it doesn't, Tampered, InvalidArguments if the
    attempt is gone, and what opening its arguments raises.
    """
    store = store_for(claim.database)
    return _arguments(store, claim.id, claim, claim.metadata)


def _arguments(store: Store, pk: UUID, named: Any, metadata: Any) -> tuple[Arguments, UUID]:
    """`named`: the columns that name the target of the attempt `pk`."""
    end = End.of(metadata) if isinstance(metadata, dict) else None
    followed = [one.id for one in store.prerequisites.of(pk)]
    if end is None or followed != [_uuid(end.attempt)]:
        raise Tampered(f"Nothing tells which attempt the attempt {pk} follows.")
    [origin_id] = followed
    origin = store.database.attempts.filter(pk=origin_id).first()
    if origin is None:
        raise InvalidArguments(f"The attempt {origin_id}, which it follows, was deleted.")
    arguments = _arguments_of_origin(store, origin)
    _require_declared(named, origin, end)
    ending = _ending(store, origin, end, pk)
    return Arguments(ending, *arguments.args, **arguments.kwargs), origin_id


def _arguments_of_origin(store: Store, origin: Any) -> Arguments:
    """Return what it was, or would have been, called with; None for what wasn't handed to it."""
    require_fetched(origin.args, str(origin.pk), "raise it to perform what follows.")
    if bytes(origin.args) == NO_ARGS:
        return _arguments(store, origin.pk, origin, origin.metadata)[0]
    arguments, _ = load_bound(open_sealed(origin.args, origin.context("args")))
    if arguments.args and type(arguments.args[0]) is Handed:
        return Arguments(None, *arguments.args[1:], **arguments.kwargs)
    return arguments


def _require_declared(named: Any, origin: Any, end: End) -> None:
    """Raise UnknownTarget unless this code declares the target of the one to follow the other's.

    Before it is looked up: nothing has authenticated its name. That of `origin` is. It may be an
    older name of what is declared, or be declared by another release only, so that a rolling deploy
    mends itself.
    """
    handler = end_handler_of(target_named(origin.target, origin.method_name), end.status)
    if handler is not None:
        declared, written = str(handler.name), f"{named.target}.{named.method_name}"
        pk = origin.target_pk if handler.needs_instance else None
        if named.target_pk == pk and declared in (written, current_name(written)):
            return
    raise UnknownTarget(
        f"{origin} doesn't declare here that {named.target}.{named.method_name} follows when it "
        f"has {end.status}."
    )


def _ending(store: Store, origin: Any, end: End, follower: UUID) -> Ending:
    """Return the end as it was, though the attempt may have been retried since."""
    written = store.database.attempts.filter(pk=follower).values_list("created_at")
    # Executions are numbered from 1 again after a person's retry.
    failures = store.database.failures.filter(
        attempt_id=origin.pk, number=end.execution, failed_at__lte=Subquery(written)
    )
    failure = failures.order_by("-failed_at", "-id").first()
    message, kind = "", ""
    if failure is not None and failure.error_class == end.error_class:
        failure.attempt = origin
        message, kind = failure.message, failure.kind
    return Ending(
        origin.pk,
        end.status,
        origin.target,
        origin.method_name,
        error_class=end.error_class,
        message=message or end.reason,
        reason=end.reason,
        failure_kind=kind,
    )


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None

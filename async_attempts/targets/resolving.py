"""How a name in a row becomes a callable again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ObjectDoesNotExist, ValidationError
from django.db import router

from async_attempts.exceptions import ObjectGone

from .methods import method_of
from .naming import TargetName, require_callable_as

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.db.models import Model

    from .policy import Policy


@dataclass(frozen=True, slots=True)
class Resolved:
    """A target ready to be called with its attempt's arguments."""

    function: Callable[..., Any]
    policy: Policy
    is_coroutine: bool


def resolve(name: TargetName, database: str) -> Resolved:
    """Find what `name` stands for; `database` is the alias that the attempt's row came from.

    A model instance is read where the routers would write it, else from `database`. Raises
    InvalidTarget, UnknownTarget, and ObjectGone if the instance's row is not there any more.
    """
    method = method_of(name.target, name.method_name)
    require_callable_as(name, method)
    instance = None
    if name.target_pk is not None and method.model is not None:
        instance = _load(method.model, name.target_pk, database)
    return Resolved(method.bound_to(instance), method.policy, method.is_coroutine)


def _load(model: type[Model], target_pk: str, database: str) -> Model:
    gone = f"There is no {model._meta.label} with the primary key {target_pk!r}."
    try:
        pk = model._meta.pk.to_python(target_pk)
    except (ValidationError, TypeError, ValueError) as error:
        raise ObjectGone(gone) from error
    alias = router.db_for_write(model, instance=_probe(model, pk, database))
    try:
        return model._base_manager.using(alias).get(pk=pk)
    except ObjectDoesNotExist as error:
        raise ObjectGone(gone) from error


def _probe(model: type[Model], pk: object, database: str) -> Model:
    """An instance that lets the routers decide as they would for the one to be read."""
    probe = model(pk=pk)
    probe._state.db = database
    probe._state.adding = False
    return probe

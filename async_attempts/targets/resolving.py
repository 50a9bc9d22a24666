"""How a name in a row becomes a callable again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .instances import load_by_text
from .methods import method_of
from .naming import TargetName, require_callable_as

if TYPE_CHECKING:
    from collections.abc import Callable

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
        instance = load_by_text(method.model, name.target_pk, database)
    return Resolved(method.bound_to(instance), method.policy, method.is_coroutine)

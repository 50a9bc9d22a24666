"""How a name in a row becomes a callable again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from django.core.signals import setting_changed

from async_attempts.conf import SETTING

from .instances import load_by_text
from .methods import Method, method_of
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


class Named(Protocol):
    """A `TargetName`, or any other row with these columns."""

    @property
    def target(self) -> str: ...
    @property
    def target_pk(self) -> str | None: ...
    @property
    def method_name(self) -> str: ...


def resolve(named: Named, database: str) -> Resolved:
    """Find the target that `named` names; `database` is the alias that the attempt's row came from.

    A model instance is read where the routers would write it, else from `database`. Raises
    InvalidTarget, UnknownTarget, and ObjectGone if the instance's row is not there any more.
    """
    place = (named.target, named.method_name)
    if named.target_pk is None and (ready := _ready.get(place)) and ready[0].is_current:
        return ready[1]
    method = method_of(*place)
    name = TargetName(named.target, named.target_pk, named.method_name)
    require_callable_as(name, method)
    if name.target_pk is not None and method.model is not None:
        instance = load_by_text(method.model, name.target_pk, database)
        return Resolved(method.bound_to(instance), method.policy, method.is_coroutine)
    resolved = Resolved(method.bound_to(None), method.policy, method.is_coroutine)
    _ready[place] = (method, resolved)
    return resolved


_ready: dict[tuple[str, str], tuple[Method, Resolved]] = {}
"""What needs no instance, by the two columns that name it; only what may be called gets here."""


def _forget(*, setting: str, **_: object) -> None:
    if setting in (SETTING, "INSTALLED_APPS"):
        _ready.clear()


setting_changed.connect(_forget)

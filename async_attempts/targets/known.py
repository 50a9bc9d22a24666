"""What is known of a target that was named before: nothing is looked up anew for each attempt."""

from __future__ import annotations

from types import FunctionType, MethodType, ModuleType
from typing import Any, Final, NamedTuple

from django.core.signals import setting_changed

from async_attempts.conf import SETTING

from .arguments import Shapes, shapes_of
from .methods import Method, method_of
from .naming import TargetName, name_of

MOST: Final = 4096


class KnownTarget(NamedTuple):
    """A target's name, its method, and the arguments that the method takes."""

    name: TargetName
    method: Method
    shapes: Shapes
    kinds: dict[type, Any]
    """What each model makes of it, for the models to keep."""


_known: dict[tuple[Any, str | None], KnownTarget] = {}


def known_target(target: Any, method_name: str | None = None) -> KnownTarget:
    """As `name_of`, with what else an enqueueing needs. Raises as that does."""
    if not _is_lasting(target) or not isinstance(method_name, str | None):
        return _found(name_of(target, method_name))
    key = (target, method_name)
    known = _known.get(key)
    if known is None or not known.method.is_current:
        known = _found(name_of(target, method_name))
        if len(_known) >= MOST:
            _known.clear()
        _known[key] = known
    return known


def _is_lasting(target: Any) -> bool:
    """Whether the same object always has the same name: an instance's has its primary key."""
    kind = type(target)
    if kind is MethodType:
        return isinstance(target.__self__, type) and type(target.__func__) is FunctionType
    return kind in (FunctionType, str, ModuleType) or isinstance(target, type)


def _found(name: TargetName) -> KnownTarget:
    method = method_of(name.target, name.method_name)
    return KnownTarget(name, method, shapes_of(method), {})


def _forget(*, setting: str, **_: object) -> None:
    if setting in (SETTING, "INSTALLED_APPS"):
        _known.clear()


setting_changed.connect(_forget)

"""What is measured: each workload's contenders, the first one of which is its baseline."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module

from ..measurements import Facts, Measurement
from ..place import Place

Workload = Callable[[Place], Iterable[Measurement | Facts]]


def workload(name: str) -> Workload:
    """The function that measures the workload `name`."""
    measure: Workload = getattr(import_module(f".{name}", __name__), name)
    return measure

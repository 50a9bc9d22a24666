"""Events by name, and the listeners that are called for them.

Importable before the app registry is ready, as its decorator is used in any module.
"""

from .decorator import on
from .emission import Event, aemit, emit, event
from .listeners import Listener, Subscription, listeners

__all__ = ["Event", "Listener", "Subscription", "aemit", "emit", "event", "listeners", "on"]

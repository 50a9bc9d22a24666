"""Events by name, and the listeners that are called for them.

Importable before the app registry is ready, as its decorator is used in any module.
"""

from .emission import Event, aemit, emit, event
from .listeners import Listener, Subscription, listeners, on

__all__ = ["Event", "Listener", "Subscription", "aemit", "emit", "event", "listeners", "on"]

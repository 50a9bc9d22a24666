"""Events: what has happened, by a name, and the listeners that are called for it.

Importable before the app registry is ready, as its decorator is used in any module.
"""

from .emitting import Event, aemit, emit, event
from .listeners import Listener, Subscription, listeners
from .listening import on

__all__ = ["Event", "Listener", "Subscription", "aemit", "emit", "event", "listeners", "on"]

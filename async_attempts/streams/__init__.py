"""Long streams of calls, enqueued so that at most so many of them are live at once."""

from __future__ import annotations

from .enqueueing import aenqueue_stream, enqueue_stream
from .flight import Streamed

__all__ = ["Streamed", "aenqueue_stream", "enqueue_stream"]

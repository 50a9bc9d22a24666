"""What is measured: each workload's contenders, the first one of which is its baseline."""

from __future__ import annotations

from .bulk import bulk
from .draining import draining
from .enqueueing import enqueueing

WORKLOADS = (enqueueing, bulk, draining)

__all__ = ["WORKLOADS"]

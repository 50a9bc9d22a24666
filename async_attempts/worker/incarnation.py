"""A worker's row: who it is, made anew for each incarnation."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from ..models import Worker


def new_worker(*, queues: Sequence[str], name: str = "") -> Worker:
    """A new incarnation of this process, not yet registered."""
    try:
        package_version = version("django-async-attempts")
    except PackageNotFoundError:
        package_version = ""
    return Worker(
        host=socket.gethostname(),
        pid=os.getpid(),
        name=name,
        queues=list(queues),
        version=package_version,
    )

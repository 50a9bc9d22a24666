"""Set aside the rows that no worker can handle, and log each."""

from __future__ import annotations

import logging
from collections.abc import Collection
from uuid import UUID

from django.db import Error

from ...store import Store

logger = logging.getLogger("async_attempts")


def set_malformed_aside(
    store: Store, worker_id: UUID | None = None, queues: Collection[str] = ()
) -> bool:
    """Fail or mend malformed rows; True if there were any. An error of the database is logged."""
    try:
        found = store.set_malformed_aside(worker_id, queues)
    except Error as error:
        logger.error("malformed rows can't be set aside: %s", type(error).__name__)
        return False
    for one in found:
        logger.error("%s", one)
    return bool(found)

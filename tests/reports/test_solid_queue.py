"""What users of Solid Queue, the job queue of Rails, have reported."""

from __future__ import annotations

import time

from async_attempts.lifecycle import Succeeded
from async_attempts.store import store_for
from tests.store.rows import enqueued, finish_all, registered
from tests.store.sessions import PATIENCE, at_once


def test_what_waits_for_a_concurrency_key_is_never_forgotten(database):
    """rails/solid_queue issue 456, explained in its pull request 689: a job is blocked just as the
    one that held the key ends, nobody unblocks it, and it runs half an hour later.

    No sweep runs here that could make up for it.
    """
    store = store_for(database)
    attempts = enqueued(store, 60, limit_key="k", concurrency=2)
    left = store.database.attempts.exclude(status="succeeded")
    deadline = time.monotonic() + PATIENCE

    def work_through(_: int) -> None:
        worker = registered(store)
        store.database.revisits.begin()
        try:
            while left.exists():
                assert time.monotonic() < deadline, left.values_list("status", "limit_key")
                claims = store.claims.claim(worker.pk, ["default"], 5)
                assert len(claims) <= 2
                performed = [(claim, Succeeded()) for claim in claims]
                finish_all(store, worker, [*performed, *claims.unrecorded])
                store.limits.unpark({claim.limit_key for claim in claims})
                store.revisit()
        finally:
            store.database.revisits.end()

    at_once(3, work_through)
    assert store.database.attempts.filter(status="succeeded").count() == len(attempts)

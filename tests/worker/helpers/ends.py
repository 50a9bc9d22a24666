"""Ways in which attempts end badly: by people, by the clock, by the loss of a worker."""

from __future__ import annotations

from async_attempts import Attempt
from async_attempts.lifecycle import FailureKind
from async_attempts.store import Verdict, store_for
from async_attempts.store.expressions import seconds_from_now
from tests.store.rows import registered
from tests.worker.helpers.attempts import drain, put


def alias_of(attempt: Attempt) -> str:
    alias = attempt._state.db
    assert alias is not None
    return alias


def fail(attempt: Attempt) -> None:
    attempt.fail("no stock")


def expire(attempt: Attempt) -> None:
    attempt.expire("no stock")


def fail_all(attempt: Attempt) -> None:
    Attempt.objects.using(alias_of(attempt)).pending().fail("no stock")


def cancel(attempt: Attempt) -> None:
    attempt.request_cancel()


def come_too_late(attempt: Attempt) -> None:
    put(attempt, expires_at=seconds_from_now(-1))
    drain(alias_of(attempt))


def be_overdue(attempt: Attempt) -> None:
    put(attempt, expires_at=seconds_from_now(-1))
    assert store_for(alias_of(attempt)).retention.expire_overdue() == [attempt.pk]


def lose_its_worker(attempt: Attempt) -> None:
    store = store_for(alias_of(attempt))
    worker = registered(store)
    put(attempt, num_crashes=2)
    assert store.claims.claim_one(worker.pk, attempt.pk)
    store.workers.reap(worker.pk, lambda _: Verdict(FailureKind.CRASH, "it was lost"))


def lose_its_cancelled_worker(attempt: Attempt) -> None:
    store = store_for(alias_of(attempt))
    worker = registered(store)
    assert store.claims.claim_one(worker.pk, attempt.pk)
    attempt.request_cancel()
    store.workers.reap(worker.pk, lambda _: Verdict(FailureKind.CRASH, "it was lost"))

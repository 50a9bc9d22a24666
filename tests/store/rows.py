"""Rows for the store's tests: enqueued for real, then put where a test needs them."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.utils import timezone

from async_attempts import call
from async_attempts.calls import enqueue_many
from async_attempts.lifecycle import Error
from async_attempts.models import Attempt, DatabaseNow, Failure, Worker, sealed_details
from async_attempts.store import Claim, Result, Store
from async_attempts.store.claimed import COLUMNS
from async_attempts.store.expressions import seconds_from_now
from tests.shop import clients

LEASE: Final = 30.0
ERROR: Final = Error(kind="error", error_class="builtins.ValueError", details=b"sealed")


def enqueued(store: Store, number: int = 1, **options: Any) -> list[Attempt]:
    """So many new attempts, committed, in the order in which they will be claimed."""
    calls = [
        call(clients.greet, n).using(database=store.database.alias, **options)
        for n in range(number)
    ]
    return enqueue_many(calls)


def registered(store: Store) -> Worker:
    """A live worker's row, its lease just renewed."""
    worker = Worker(host="host", pid=1, name="w", queues=["default"])
    store.workers.register(worker, LEASE)
    return worker


def finish_all(store: Store, worker: Worker, results: Sequence[Result]) -> None:
    """Record all of it, as a worker does that comes back to what others lock for a moment."""
    while results:
        unrecorded = store.outcomes.finish(worker.pk, results)
        assert unrecorded == []
        results = [one for one in results if one[0] in unrecorded.locked]


def let_lease_run_out(store: Store, worker: Worker) -> None:
    store.database.workers.filter(pk=worker.pk).update(lease=seconds_from_now(-1))


def row(store: Store, attempt: Attempt | Claim | UUID) -> Any:
    """The attempt as the database has it now."""
    return store.database.attempts.get(pk=attempt if isinstance(attempt, UUID) else attempt.id)


def put(store: Store, attempt: Attempt | Claim, **columns: Any) -> None:
    """Change columns past all guards, as no code of the package could."""
    store.database.attempts.filter(pk=attempt.id).update(**columns)


def every_column(store: Store) -> list[dict[str, Any]]:
    """All that is stored of all attempts, to be compared with itself later."""
    return list(store.database.attempts.order_by("pk").values())


def failures(store: Store) -> list[Failure]:
    return list(Failure._base_manager.using(store.database.alias).order_by("number", "pk"))


def claim_of(store: Store, attempt: Attempt | Claim) -> Claim:
    """What a worker would hold in its hand had it claimed the row as it is now."""
    columns = (*COLUMNS, "started_at", "claimed_by")
    pk, *values, started_at, worker_id = (
        store.database.attempts.filter(pk=attempt.id).values_list(*columns).get()
    )
    values[-1] = json.dumps(values[-1])
    return Claim._make(
        (pk.bytes, *values, None, started_at, worker_id, store.database.alias, 0.0, 0.0)
    )


def now(store: Store) -> datetime:
    """The database's clock."""
    clock = store.database.workers.annotate(now=DatabaseNow()).values_list("now", flat=True)
    moment: datetime = clock[:1].get()
    return moment


IN_STATE: Final[dict[str, dict[str, Any]]] = {
    "scheduled": {"status": "scheduled"},
    "pending": {},
    "waiting": {"status": "waiting", "blockers": 1},
    "running": {"claimed_by": True},
    "succeeded": {"status": "succeeded", "claimed_by": True, "completed_at": DatabaseNow()},
    "failed": {"status": "failed", "claimed_by": True, "completed_at": DatabaseNow()},
    "expired": {"status": "expired", "claimed_by": True, "completed_at": DatabaseNow()},
}
"""Every state, with the columns in which it differs from a pending attempt."""


def one_in_each_state(store: Store, worker: Worker) -> dict[str, Attempt]:
    """Attempts that are due and were claimed once by `worker`, one in each state."""
    attempts = dict(zip(IN_STATE, enqueued(store, len(IN_STATE)), strict=True))
    for state, attempt in attempts.items():
        columns = {"claim_seq": 1, "num_attempts": 1, "started_at": DatabaseNow()}
        columns |= IN_STATE[state]
        if columns.get("claimed_by"):
            columns["claimed_by"] = worker.pk
        put(store, attempt, **columns)
    return attempts


def states(store: Store, attempts: dict[str, Attempt]) -> dict[str, str]:
    """The state in which each of them is now."""
    return {name: row(store, attempt).state for name, attempt in attempts.items()}


def multiply(store: Store, template: Attempt, number: int, **columns: str) -> None:
    """Copy a row many times, in one statement; `columns` are SQL over `n`, counted from 0."""
    connection = store.database.connection
    quote = connection.ops.quote_name
    table = quote(store.database.model._meta.db_table)
    names = [str(field.column) for field in store.database.model._meta.concrete_fields]
    values = {name: quote(name) for name in names}
    digits_of_id = f"'{os.urandom(8).hex()}'"
    values["id"] = {
        "postgresql": f"({digits_of_id} || lpad(to_hex(n), 16, '0'))::uuid",
        "mysql": f"concat({digits_of_id}, lpad(lower(hex(n)), 16, '0'))",
        "sqlite": f"{digits_of_id} || printf('%016x', n)",
    }[connection.vendor]
    values |= columns
    digits = " UNION ALL ".join(f"SELECT {digit} AS d" for digit in range(10))
    powers = range(len(str(number)))
    numbers = " + ".join(f"t{power}.d * {10**power}" for power in powers)
    tables = " CROSS JOIN ".join(f"({digits}) t{power}" for power in powers)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {table} ({', '.join(map(quote, values))}) "
            f"SELECT {', '.join(values.values())} FROM {table} "
            f"CROSS JOIN (SELECT {numbers} AS n FROM {tables}) numbers "
            f"WHERE id = {_literal(store, template.pk)} AND n < {number} ORDER BY n"
        )


def _literal(store: Store, pk: UUID) -> str:
    return f"'{store.database.model._meta.pk.get_db_prep_value(pk, store.database.connection)}'"


def a_moment(seconds: str, store: Store) -> str:
    """SQL for the moment so many seconds from the database's now."""
    return {
        "postgresql": f"statement_timestamp() + ({seconds}) * interval '1 second'",
        "mysql": f"utc_timestamp(6) + INTERVAL ({seconds}) SECOND",
        "sqlite": f"datetime('now', ({seconds}) || ' seconds') || '.000000'",
    }[store.database.connection.vendor]


def failure_of(attempt: Any, number: int = 1, traceback: str = "") -> Failure:
    """A failure of an execution, as a worker records it."""
    return Failure.objects.using(attempt._state.db).create(
        attempt=attempt,
        number=number,
        kind="error",
        error_class="builtins.OSError",
        details=sealed_details("it broke", traceback, attempt.context("error", number)),
        failed_at=timezone.now(),
    )

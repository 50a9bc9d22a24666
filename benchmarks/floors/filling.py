"""Rows by the million, made by the server: what a table holds after some weeks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from async_attempts import Attempt

from ..attempts import call_of

# A UUIDv7 of the moment `at`, as the client makes them: the primary key grows at its end.
IDENTIFIER: Final = """
    (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7'
        || lpad(to_hex(n % 4096), 3, '0') || '8' || substr(md5(n::text || {status}), 1, 15))::uuid
"""

FINISHED: Final = {
    "status": "'succeeded'",
    "scheduled_at": "at",
    "num_attempts": "1",
    "claim_seq": "1",
    "claimed_by": "'00000000-0000-7000-8000-000000000000'::uuid",
    "started_at": "at",
    "completed_at": "at",
}

SCHEDULED: Final = {"status": "'scheduled'", "scheduled_at": "now() + interval '7 days'"}

# Of the last day, so that nothing is pruned meanwhile.
MOMENTS: Final = """
    SELECT n, now() - interval '1 day' + n * interval '20 ms' AS at
    FROM generate_series(1, {rows}) AS n
"""


def fill(cursor: Any, schema: str, finished: int, scheduled: int) -> None:
    """Make a table of attempts in `schema`, with so many rows, vacuumed and analyzed.

    Each is an attempt that was just enqueued, but for what makes it finished or scheduled.
    """
    table = f"{schema}.async_attempts_attempt"
    cursor.execute(f"CREATE TABLE {table} (LIKE public.async_attempts_attempt INCLUDING ALL)")
    cursor.execute(
        "SELECT array_to_string(reloptions, ', ') FROM pg_class"
        " WHERE oid = 'public.async_attempts_attempt'::regclass"
    )
    if options := cursor.fetchone()[0]:  # LIKE leaves the fillfactor out
        cursor.execute(f"ALTER TABLE {table} SET ({options})")
    template = call_of(0).enqueue()
    for different, rows in ((FINISHED, finished), (SCHEDULED, scheduled)):
        cursor.execute(statement(table, different, rows))
    Attempt.objects.filter(pk=template.pk).delete()
    cursor.execute(f"VACUUM (ANALYZE) {table}")


def statement(table: str, different: Mapping[str, str], rows: int) -> str:
    """Copy the one attempt that is there so many times, with these columns `different`."""
    columns = [str(field.column) for field in Attempt._meta.concrete_fields]
    values = {column: f"template.{column}" for column in columns}
    values |= {"id": IDENTIFIER.format(status=different["status"]), "created_at": "at", **different}
    return (
        f"INSERT INTO {table} ({', '.join(values)}) SELECT {', '.join(values.values())}"
        f" FROM public.async_attempts_attempt AS template, ({MOMENTS.format(rows=rows)}) AS moments"
    )

"""MariaDB and MySQL: no UPDATE … RETURNING, no ON CONFLICT, and a clock in the session's zone."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from datetime import UTC
from functools import cached_property
from typing import Any, ClassVar, Final, TypeVar
from uuid import UUID

from django.db import OperationalError, connections
from django.db.models import BinaryField, F, Func, Model, UUIDField

from ...batches import in_batches
from ...lifecycle import Status
from ...models import AttemptQuerySet, Dependency, Slot, get_attempt_model
from ...payload.limits import most_args_bytes
from ..claimed import COLUMNS, Claim, Selection, uptime
from ..database import as_uuid, placeholders
from ..transactions import waited_too_long
from .base import Dialect, Held, require_read_committed

_T = TypeVar("_T")

CLAIM_INDEX: Final = "queue num_crashes -priority scheduled_at id".split()
"""The columns of the claim's index, in its order."""

SELECT = """
SELECT {columns}, TIMESTAMPDIFF(MICROSECOND, UTC_TIMESTAMP(6), expires_at),
    TIMESTAMPDIFF(MICROSECOND, scheduled_at, UTC_TIMESTAMP(6)), UTC_TIMESTAMP(6)
FROM {attempt} {by_index}
WHERE status = 'pending' AND claimed_by IS NULL AND {which} AND scheduled_at <= UTC_TIMESTAMP(6)
ORDER BY priority DESC, scheduled_at, id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
"""

LOCK_LIVE_WORKER: Final = """
SELECT 1 FROM {worker} WHERE id = %s AND state = 'live' LOCK IN SHARE MODE
"""
"""A shared lock: nobody can rescue the worker meanwhile, and its threads' claims don't wait for
each other."""

CLAIM = """
UPDATE {attempt} FORCE INDEX (PRIMARY)
SET claimed_by = %s, claim_seq = claim_seq + 1, num_attempts = num_attempts + 1, started_at = %s,
    reason = ''
WHERE id IN ({ids}) AND status = 'pending' AND claimed_by IS NULL
"""

SUCCEED = """
{at_once} UPDATE {attempt} FORCE INDEX (PRIMARY)
SET status = 'succeeded', completed_at = UTC_TIMESTAMP(6), num_crashes = 0{result}
WHERE id IN ({ids}) AND claim_seq = %s AND claimed_by = %s AND status = 'pending'
"""

LOCK = """
SELECT id, claim_seq, cancel_requested, {on_ended} IS NOT NULL FROM {attempt} FORCE INDEX (PRIMARY)
WHERE id IN ({ids}) AND claimed_by = %s AND status = 'pending' ORDER BY id FOR UPDATE SKIP LOCKED
"""
"""By themselves these three may walk the claim index of a small table: they would lock in the order
of that, and wait for what others hold of it."""

AT_ONCE: Final = "SET STATEMENT innodb_lock_wait_timeout = 0 FOR"
"""MariaDB's only: the statement fails with 1205 instead of waiting for a lock."""

AT_ONCE_AGAIN: Final = (0.0, 0.002)
"""Seconds before each try: a claim of another worker's locks for a moment what it passes over."""

DELETED_AT_ONCE: Final = 200

NUM_ATTEMPTS, CLAIM_SEQ = COLUMNS.index("num_attempts"), COLUMNS.index("claim_seq")


EXACT_KEY: Final = Func(
    F("limit_key"),
    template="CAST(CONVERT(%(expressions)s USING utf8mb4) AS BINARY)",
    output_field=BinaryField(),
)


class MySQL(Dialect):
    """MariaDB and MySQL by one code path."""

    add_to_row: ClassVar = ("ON DUPLICATE KEY UPDATE", "{name} = {name} + VALUES({name})")
    # MariaDB doesn't know the alias that MySQL has in place of `VALUES()`.
    minute: ClassVar = "DATE_FORMAT(UTC_TIMESTAMP(), '%%Y-%%m-%%d %%H:%%i:00')"
    seconds_until: ClassVar = (
        "CASE WHEN {next} <= {now} THEN 0.0"
        " ELSE TIMESTAMPDIFF(MICROSECOND, {now}, {next}) / 1e6 END"
    )
    names_to_flags: ClassVar = "JSON_OBJECTAGG(name, is_paused)"

    @staticmethod
    @contextmanager
    def around_transactions(alias: str) -> Iterator[None]:
        """Have the ORM update by the primary key the rows that it selects by it: see `CLAIM`."""
        quote = connections[alias].ops.quote_name
        with ExitStack() as forced:
            for model in (get_attempt_model(), Dependency, Slot):
                update = f"UPDATE {quote(model._meta.db_table)}"
                forced.enter_context(_forcing(alias, update, " SET ", "PRIMARY", of_ids=True))
            yield

    def locking_by_id(self) -> AbstractContextManager[Any]:
        """Have the ORM lock by the primary key the rows that it selects by it: see `LOCK`."""
        selected = f"FROM {self.database.names['attempt']}"
        return _forcing(self.database.alias, selected, " WHERE ", "PRIMARY", of_ids=True)

    def isolation_problem(self) -> str | None:
        # MariaDB before 11.1 has only the older of the two names.
        (_, level), *_ = self.database.fetch(
            "SHOW VARIABLES WHERE variable_name IN ('transaction_isolation', 'tx_isolation')"
        )
        return require_read_committed(self.database.alias, level.replace("-", " "))

    def delete(self, model: type[Model], keys: Collection[Any], column: str = "pk") -> None:
        """Delete by an index: reading a small table as a whole would wait for locked rows.

        A join, as MariaDB takes no hint of an index in a DELETE.
        """
        field: Any = model._meta.pk if column == "pk" else model._meta.get_field(column)
        # In ASCII, which is compared with a column of any collation.
        is_id = isinstance(getattr(field, "target_field", field), UUIDField)
        form = "CONVERT(%s USING ascii)" if is_id else "%s"
        connection = self.database.connection
        table, name = self.database.table(model), connection.ops.quote_name(str(field.column))
        stored = [field.get_db_prep_value(key, connection) for key in keys]
        for some in in_batches(stored, DELETED_AT_ONCE):
            listed = " UNION ALL ".join([f"SELECT {form} AS k"] * len(some))
            sql = f"DELETE d FROM ({listed}) l STRAIGHT_JOIN {table} d ON d.{name} = l.k"
            with connection.cursor() as cursor:
                cursor.execute(sql, some)

    def claim(self, worker_id: UUID, which: Selection, limit: int) -> list[Claim]:
        return self.database.in_transaction(lambda: self.claim_within(worker_id, which, limit))

    def claim_within(self, worker_id: UUID, which: Selection, limit: int) -> list[Claim]:
        database = self.database
        is_by_id = isinstance(which.param, UUID | list)
        param = database.stored(which.param) if isinstance(which.param, UUID) else which.param
        by_index = "" if is_by_id else self.by_claim_index
        select = SELECT.format(which=which.sql, by_index=by_index, **database.names)
        live = LOCK_LIVE_WORKER.format(**database.names)
        if not database.fetch(live, [database.stored(worker_id)]):
            return []
        began = uptime()
        params = {"which": param, "limit": limit, "most_bytes": most_args_bytes()}
        with database.connection.cursor() as cursor:
            cursor.execute(select, params)
            rows = cursor.fetchall()
            if not rows:
                return []
            ids = [row[0] for row in rows]
            sql = CLAIM.format(ids=placeholders(ids), **database.names)
            cursor.execute(sql, [database.stored(worker_id), rows[0][-1], *ids])
        return [self._claimed(row, worker_id, began) for row in rows]

    def _claimed(self, row: Sequence[Any], worker_id: UUID, began: float) -> Claim:
        """Return the claim behind a row as it was before."""
        *values, waited, now = row
        values[0] = bytes.fromhex(row[0].replace("-", ""))
        values[NUM_ATTEMPTS] += 1
        values[CLAIM_SEQ] += 1
        if values[-1] is not None:
            values[-1] /= 1e6
        end = (now.replace(tzinfo=UTC), worker_id, self.database.alias, began, waited / 1e6)
        return Claim._make((*values, *end))

    def lock_claimed(self, worker_id: UUID, claims: Sequence[Claim]) -> dict[UUID, Held]:
        return self._lock(worker_id, [claim.id for claim in claims])

    def _lock(self, worker_id: UUID, ids: Sequence[UUID]) -> dict[UUID, Held]:
        if not ids:
            return {}
        database = self.database
        sql = LOCK.format(
            ids=placeholders(ids), on_ended=database.quoted("on_ended"), **database.names
        )
        params = [*map(database.stored, ids), database.stored(worker_id)]
        rows = database.fetch(sql, params)
        return {as_uuid(key): Held(seq, bool(wish), bool(ends)) for key, seq, wish, ends in rows}

    def succeed(
        self, worker_id: UUID, claim_seq: int, ids: Sequence[bytes], drops: bool
    ) -> tuple[int, None]:
        """Record successes by one statement, as long as nobody else locks one of the rows."""
        for pause in AT_ONCE_AGAIN if self._fails_at_once else ():
            time.sleep(pause)
            try:
                return self._succeed(worker_id, claim_seq, ids, drops, AT_ONCE), None
            except OperationalError as error:
                # Only the statement is rolled back.
                if not waited_too_long(error):
                    raise
        locked = self._lock(worker_id, [UUID(bytes=one) for one in ids])
        unlocked = [pk.bytes for pk, held in locked.items() if held.claim_seq == claim_seq]
        return self._succeed(worker_id, claim_seq, unlocked, drops), None

    @cached_property
    def _fails_at_once(self) -> bool:
        """True if a statement can fail instead of waiting, and undoes nothing but itself then.

        A server can be set to undo the whole transaction, and what was recorded before in it.
        """
        connection: Any = self.database.connection
        if not connection.mysql_is_mariadb:
            return False
        return self.database.fetch("SELECT @@innodb_rollback_on_timeout") == [(0,)]

    def _succeed(
        self, worker_id: UUID, claim_seq: int, ids: Sequence[bytes], drops: bool, at_once: str = ""
    ) -> int:
        if not ids:
            return 0
        database = self.database
        parts = {"ids": placeholders(ids), "result": self.setting_result(drops)}
        sql = SUCCEED.format(at_once=at_once, **parts, **database.names)
        stored = [database.stored(UUID(bytes=one)) for one in ids]
        with database.connection.cursor() as cursor:
            cursor.execute(sql, [*stored, claim_seq, database.stored(worker_id)])
            return int(cursor.rowcount)

    def write_progress(self, percents: Mapping[UUID, int], notes: Mapping[UUID, str]) -> None:
        """Write row by row: many ids would read a small table as a whole, and await its locks."""
        for pk, percent in percents.items():
            mine = self.database.attempts.filter(pk=pk, status=Status.PENDING)
            mine.update(progress=percent, progress_note=notes[pk])

    def limit_keys_of(self, attempts: AttemptQuerySet[Any]) -> set[str]:
        """Compare by bytes: in most collations "a" and "A" are one, and so are "a" and "a "."""
        keys = attempts.annotate(exactly=EXACT_KEY).order_by()
        return {bytes(key).decode() for key in keys.values_list("exactly", flat=True).distinct()}

    def of_limit_key(self, attempts: AttemptQuerySet[Any], key: str) -> AttemptQuerySet[Any]:
        alike = super().of_limit_key(attempts, key)
        return alike.annotate(exactly=EXACT_KEY).filter(exactly=key.encode())

    @cached_property
    def by_claim_index(self) -> str:  # type: ignore[override]  # the base has a constant
        """SQL to force the claim index.

        Else a claim sorts a small table as a whole, and locks more than it takes; and a look for
        suspects reads all that is pending.
        """
        index = self._index_over(CLAIM_INDEX)
        return f"FORCE INDEX ({index})" if index else ""

    def by_index_over(self, *fields: str) -> AbstractContextManager[Any]:
        """Force the index: else a table with few rows that have ended is read as a whole."""
        index = self._index_over(fields)
        if index is None:
            return nullcontext()
        selected = f"FROM {self.database.names['attempt']}"
        return _forcing(self.database.alias, selected, " WHERE ", index)

    def _index_over(self, fields: Sequence[str]) -> str | None:
        """Return the index of attempts over these columns; a project may have none."""
        indexes = self.database.model._meta.indexes
        names = [index.name for index in indexes if list(index.fields) == list(fields)]
        return self.database.connection.ops.quote_name(names[0]) if names else None


def _forcing(
    alias: str, begin: str, end: str, index: str, *, of_ids: bool = False
) -> AbstractContextManager[None]:
    """Make the ORM's statements that have this part, `of_ids` those with ids, use an index."""
    connection = connections[alias]
    by_ids = f"{connection.ops.quote_name('id')} IN ("

    def force(execute: Callable[..., _T], sql: str, params: Any, many: bool, context: Any) -> _T:
        if begin + end in sql and (not of_ids or by_ids in sql):
            sql = sql.replace(begin + end, f"{begin} FORCE INDEX ({index}){end}", 1)
        return execute(sql, params, many, context)

    return connection.execute_wrapper(force)

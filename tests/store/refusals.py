"""Triggers of a project's own, by which updates of attempts are refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from async_attempts import Attempt
from async_attempts.store import Store

POISON: Final = "NEW.idempotence_token = 'poison' AND NEW.status = 'pending'"
"""No claim of these attempts is possible, and no promotion."""

CLAIMS: Final = "NEW.claimed_by IS NOT NULL AND OLD.claimed_by IS NULL"
PROMOTIONS: Final = "NEW.status = 'pending' AND OLD.status = 'scheduled'"

REFUSING: Final = {
    "postgresql": """
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF {condition} THEN
                RAISE EXCEPTION 'no such updates today';
            END IF;
            RETURN NEW;
        END $$;
        CREATE TRIGGER refuse BEFORE UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION refuse()
    """,
    "mysql": """
        CREATE TRIGGER refuse BEFORE UPDATE ON {table} FOR EACH ROW BEGIN
            IF {condition} THEN
                SIGNAL SQLSTATE '22012' SET MYSQL_ERRNO = 1690;
            END IF;
        END
    """,
    "sqlite": """
        CREATE TRIGGER refuse BEFORE UPDATE ON {table} WHEN {condition}
        BEGIN SELECT RAISE(ABORT, 'refused'); END
    """,
}

UNDONE: Final = {
    "postgresql": ("DROP TRIGGER refuse ON {table}", "DROP FUNCTION refuse"),
    "mysql": ("DROP TRIGGER refuse",),
    "sqlite": ("DROP TRIGGER refuse",),
}


@contextmanager
def refused(store: Store, condition: str) -> Iterator[None]:
    """Have the database refuse the updates of attempts that this SQL describes."""
    vendor = store.database.connection.vendor
    table = store.database.connection.ops.quote_name(Attempt._meta.db_table)
    with store.database.connection.cursor() as cursor:
        cursor.execute(REFUSING[vendor].format(table=table, condition=condition))
        try:
            yield
        finally:
            for statement in UNDONE[vendor]:
                cursor.execute(statement.format(table=table))

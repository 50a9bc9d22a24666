"""Reports of secrets that could be read in the database."""

from __future__ import annotations

from django.db import connections

from tests.shop import effects
from tests.worker.helpers.attempts import drain, enqueued, states

CANARY = "c4n4ry-in-the-mine"


def test_what_tasks_take_and_return_cannot_be_read_in_the_database(database, acting):
    """celery/django-celery-results#142, CVE-2020-17495: arguments and results are stored in clear
    text.
    """

    def tell(secret: str) -> str:
        if secret.endswith("!"):
            raise ValueError(secret)
        return secret

    acting(tell)
    enqueued(database, effects.act, CANARY, options={"keep_result": True})
    enqueued(database, effects.act, f"{CANARY}!", options={"max_attempts": 1})
    drain(database)
    assert states(database) == ["succeeded", "failed"]
    stored = everything_stored(database)
    assert b"tests.shop.effects" in stored
    assert CANARY.encode() not in stored


def everything_stored(database: str) -> bytes:
    """All rows of the package's tables."""
    connection = connections[database]
    cells: list[bytes] = []
    with connection.cursor() as cursor:
        for table in connection.introspection.django_table_names():
            if table.startswith("async_attempts_"):
                cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")
                cells += [as_bytes(cell) for row in cursor.fetchall() for cell in row]
    return b"\n".join(cells)


def as_bytes(cell: object) -> bytes:
    if isinstance(cell, bytes | bytearray | memoryview):
        return bytes(cell)
    return str(cell).encode()

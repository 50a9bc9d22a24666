"""What raw SQL by the plain driver takes for the same: the floor under every figure.

The same tables, indexes, constraints and durability; no model, no encryption, no lease, no fence
but the worker's id, and no target is called. The rows are whole: a worker can perform them.
"""

from __future__ import annotations

from django.db import connections

from .base import Floor, Row, sealed

__all__ = ["Floor", "Row", "floor_on", "sealed"]


def floor_on(alias: str) -> Floor:
    """Raw SQL on the database `alias`, with a driver's connection of its own."""
    vendor = connections[alias].vendor
    if vendor == "postgresql":
        from .postgresql import PostgreSQLFloor

        return PostgreSQLFloor(alias)
    if vendor == "mysql":
        from .mysql import MySQLFloor

        return MySQLFloor(alias)
    from .sqlite import SQLiteFloor

    return SQLiteFloor(alias)

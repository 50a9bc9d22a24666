"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from django.db import connections

DURABILITY = {
    "postgresql": "SELECT name, setting FROM pg_settings"
    " WHERE name IN ('fsync', 'synchronous_commit', 'full_page_writes')",
    "mysql": "SHOW VARIABLES WHERE variable_name IN"
    " ('innodb_flush_log_at_trx_commit', 'innodb_doublewrite', 'log_bin', 'sync_binlog')",
    "sqlite": "SELECT 'journal_mode', journal_mode FROM pragma_journal_mode"
    " UNION ALL SELECT 'synchronous', synchronous FROM pragma_synchronous",
}


def machine() -> dict[str, str]:
    """The processor, the versions, and the moment."""
    return {
        "processor": f"{_processor()}, {os.cpu_count()} cores, {platform.system()}",
        "python": platform.python_version(),
        **dict(_versions("django", "cryptography", "psycopg", "mysqlclient")),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "load": "{:.1f} (1 minute), {:.1f} (5 minutes)".format(*os.getloadavg()),
    }


def server(alias: str) -> str:
    """The database, its version and how it makes a commit last."""
    connection = connections[alias]
    with connection.cursor() as cursor:
        cursor.execute(DURABILITY[connection.vendor])
        durability = ", ".join(f"{name} {value}" for name, value in sorted(cursor.fetchall()))
    number = ".".join(map(str, connection.get_database_version()))
    name = "MariaDB" if getattr(connection, "mysql_is_mariadb", False) else connection.display_name
    return f"{name} {number} ({durability})"


def _versions(*packages: str) -> Iterator[tuple[str, str]]:
    for name in packages:
        # A driver may be missing, where its database isn't measured.
        with suppress(PackageNotFoundError):
            yield name, version(name)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())

"""A PgBouncer of the test's own, in transaction mode, before the tests' PostgreSQL."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import psycopg
from django.db import connections

from tests.worker.helpers.listeners import until

BINARY: Final = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
"""Debian installs it where only root looks."""

NOBODY: Final = 65534

CONFIGURATION: Final = """
[databases]
{name} = {server}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
default_pool_size = 2
"""


@contextmanager
def before(database: str, mode: str) -> Iterator[int]:
    """Starts one before that database, for as long as the block lasts; gives its port."""
    params = connections[database].get_connection_params()
    port = _free_port()
    text = CONFIGURATION.format(
        name=params["dbname"], server=_in_its_words(params), port=port, mode=mode
    )
    with _started(text, _user(params)) as (process, log):
        until(lambda: process.poll() is not None or _answers(port, params))
        assert process.poll() is None, log.read_text()
        yield port


@contextmanager
def _started(configuration: str, user: int) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    assert BINARY is not None
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        # No other user may look into pytest's own directories.
        directory.chmod(0o755)
        command = [BINARY, str(directory / "ini")]
        if os.geteuid() == 0:
            command[:0] = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]
        (directory / "ini").write_text(configuration)
        log = directory / "log"
        with log.open("wb") as output, subprocess.Popen(command, stderr=output) as process:
            try:
                yield process, log
            finally:
                process.kill()


def _user(params: Mapping[str, Any]) -> int:
    """As whom it runs, as it refuses to be root: as one who may open the server's socket."""
    directory = Path(params.get("host") or "")
    return directory.stat().st_uid or NOBODY if directory.is_absolute() else NOBODY


def _in_its_words(params: Mapping[str, Any]) -> str:
    words = ("dbname", "host", "port", "user", "password")
    return " ".join(f"{word}='{params[word]}'" for word in words if word in params)


def _free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port: int = server.getsockname()[1]
        return port


def _answers(port: int, params: Mapping[str, Any]) -> bool:
    user = params.get("user") or "postgres"
    try:
        psycopg.connect(host="127.0.0.1", port=port, dbname=params["dbname"], user=user).close()
    except psycopg.OperationalError:
        return False
    return True

"""A disk that is full ends no worker: it sits that out, and loses and repeats nothing."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import pytest
from django.db import connections

from async_attempts.models import Attempt
from tests.faults.fleet import QUICK, all_have_ended, rows, stopped
from tests.faults.ledger import Book
from tests.shop import hazards
from tests.worker.helpers.attempts import enqueued
from tests.worker.helpers.processes import until

SIZE: Final = "24m"
PIECE: Final = 64 * 1024


@pytest.fixture
def small_disk(torn) -> Iterator[Path]:
    """A file system of its own for the table of attempts."""
    with connections[torn].cursor() as cursor:
        cursor.execute("SHOW data_directory")
        disk = Path(cursor.fetchone()[0]).parent / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=777", "tmpfs", str(disk)]
    refusal = subprocess.run(mount, capture_output=True, text=True, check=False).stderr
    if refusal:
        disk.rmdir()
        pytest.skip(f"only root may mount a small file system: {refusal.strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def moved_to(torn: str, tablespace: str) -> None:
    with connections[torn].cursor() as cursor:
        cursor.execute(f"ALTER TABLE {Attempt._meta.db_table} SET TABLESPACE {tablespace}")


@contextmanager
def old_snapshot(torn: str) -> Iterator[None]:
    """While somebody may still read them, the place of outdated rows isn't used for new ones."""
    reader = connections[torn].copy()
    try:
        with reader.cursor() as cursor:
            cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            cursor.execute(f"SELECT count(*) FROM {Attempt._meta.db_table}")
            yield
    finally:
        reader.close()


def fill(disk: Path) -> Path:
    """Leave no room at all."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(os.urandom(PIECE))
    return filler


def test_a_worker_sits_out_a_full_disk(workers, torn, small_disk, tmp_path):
    location = small_disk / "data"
    location.mkdir(mode=0o777)
    os.chown(location, *owner_of(torn))
    with connections[torn].cursor() as cursor:
        cursor.execute(f"CREATE TABLESPACE small LOCATION '{location}'")
    moved_to(torn, "small")
    try:
        book = Book(torn, tmp_path)
        attempts = [enqueued(torn, hazards.leave_traces, book.path) for _ in range(300)]
        book.promise(attempts)
        filler = fill(small_disk)
        workers.databases = {torn: connections[torn].settings_dict}
        with old_snapshot(torn):
            worker = workers.start(QUICK, f"--database={torn}", "--processes=2")
            until(lambda: "OperationalError 53100" in worker.output, worker)
        assert rows(torn).exclude(status="succeeded").exists()
        filler.unlink()
        until(lambda: all_have_ended(torn), worker)
        book.balance()
        stopped(worker)
    finally:
        moved_to(torn, "pg_default")
        with connections[torn].cursor() as cursor:
            cursor.execute("DROP TABLESPACE small")


def owner_of(torn: str) -> tuple[int, int]:
    """The user and the group that the server's files belong to."""
    with connections[torn].cursor() as cursor:
        cursor.execute("SHOW data_directory")
        found = Path(cursor.fetchone()[0]).stat()
    return found.st_uid, found.st_gid

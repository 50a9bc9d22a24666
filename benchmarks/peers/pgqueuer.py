"""pgqueuer: asyncio, several rows a claim and a finish, LISTEN and NOTIFY; no Django."""

from __future__ import annotations

import json
from typing import ClassVar

import asyncpg
from django.db import connections
from pgqueuer.adapters.persistence.qb import QueryBuilderEnvironment
from pgqueuer.db import SyncPsycopgDriver
from pgqueuer.queries import SyncQueries

from ..attempts import arguments_of
from ..processes import Command, child
from .base import Peer, Tally
from .settings import ALIAS


def payload_of(number: int) -> bytes:
    return json.dumps(arguments_of(number)).encode()


class PgQueuer(Peer):
    """Enqueues over Django's own connection, so in its transaction; workers use asyncpg, uvloop."""

    distribution: ClassVar = "pgqueuer"
    settings: ClassVar = f"batches of 500, asyncpg {asyncpg.__version__} and uvloop"
    tables: ClassVar = ["pgqueuer", "pgqueuer_log"]
    batch: ClassVar = 500

    @property
    def name(self) -> str:
        return f"pgqueuer, batch {self.batch}"

    def prepare(self) -> None:
        """Its driver wants autocommit when it is made; later it doesn't mind a transaction."""
        with connections[ALIAS].cursor() as cursor:
            cursor.execute("SELECT to_regclass('pgqueuer')")
            if cursor.fetchone() == (None,):
                cursor.execute(QueryBuilderEnvironment().build_install_query())
        self.queries = SyncQueries(SyncPsycopgDriver(connections[ALIAS].connection))

    def enqueue(self, number: int) -> object:
        return self.queries.enqueue("fulfill", payload_of(number))

    def enqueue_note(self, number: int) -> object:
        return self.queries.enqueue("note", str(number).encode())

    def enqueue_many(self, rows: int) -> None:
        payloads: list[bytes | None] = [payload_of(number) for number in range(rows)]
        self.queries.enqueue(["fulfill"] * rows, payloads, [0] * rows)

    def worker(self) -> Command:
        return child("benchmarks.peers.pgqueuer_worker", str(self.batch), "continuous")

    def drain(self, rows: int, processes: int) -> None:
        self.run(child("benchmarks.peers.pgqueuer_worker", str(self.batch), "drain"), processes)

    def tally(self) -> Tally:
        return self.tally_by(
            "SELECT count(*) FROM pgqueuer_log WHERE status = 'queued'",
            "SELECT count(DISTINCT job_id), extract(epoch FROM max(created)) FROM pgqueuer_log"
            " WHERE status = 'successful'",
        )


class PgQueuerByDefault(PgQueuer):
    """Its `batch_size` as it comes."""

    settings: ClassVar = f"batches of 10 as by default, asyncpg {asyncpg.__version__} and uvloop"
    batch: ClassVar = 10
    share: ClassVar = 0.25


PEERS = [PgQueuer(), PgQueuerByDefault()]

"""A worker of pgqueuer, as `pgq run` starts one: `… BATCH drain|continuous`."""

from __future__ import annotations

from typing import Any

import asyncpg
import uvloop
from django.db import connections
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.domain.types import QueueExecutionMode
from pgqueuer.models import Job

from ..attempts import noted
from .first_call import note_first_call
from .settings import ALIAS


async def work(batch: int, mode: str, params: dict[str, Any]) -> None:
    connection = await asyncpg.connect(
        host=params.get("host"),
        port=params.get("port"),
        user=params.get("user"),
        password=params.get("password"),
        database=params.get("dbname"),
    )
    worker = PgQueuer(AsyncpgDriver(connection))

    @worker.entrypoint("fulfill")
    async def fulfill(job: Job) -> None:
        note_first_call()

    @worker.entrypoint("note")
    async def note(job: Job) -> None:
        noted(int(job.payload or b"0"))

    await worker.run(batch_size=batch, mode=QueueExecutionMode[mode])


def main(batch: str, mode: str) -> None:
    uvloop.run(work(int(batch), mode, connections[ALIAS].get_connection_params()))

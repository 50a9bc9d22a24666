"""Whoever writes to the table makes up key ids: what has its keys doesn't wait for that."""

from __future__ import annotations

import os
import socket
import time
from base64 import b64encode
from urllib.request import urlopen

import pytest
from django.db import transaction

from async_attempts.models import Attempt, Worker
from tests.shop import effects
from tests.worker.helpers.attempts import enqueued, put, stored
from tests.worker.helpers.processes import until

SOON = 3.0
"""Seconds. A pause of the worker would take thirty; on an idle machine it is a tenth of one."""


def forged(database, header, **options):
    attempt = enqueued(database, effects.record, options={"priority": 100, **options})
    put(attempt, args=header + os.urandom(60))
    return attempt


@pytest.mark.slow
@pytest.mark.parametrize("crashes", [0, 1], ids=["ordinary", "suspects"])
def test_fifty_of_them_hold_up_nobody(database, workers, crashes):
    worker = workers.start("--poll-interval=0.2", f"--database={database}", "--threads=2")
    until(Worker.objects.using(database).filter(state="live").exists, worker)
    with transaction.atomic(database):
        odd = [forged(database, b"\x01" + os.urandom(4)) for _ in range(50)]
        for attempt in odd:
            put(attempt, num_crashes=crashes)
        healthy = [enqueued(database, effects.record, number) for number in range(20)]
    began = time.monotonic()
    rows = Attempt.objects.using(database)
    ours = rows.filter(pk__in=[attempt.pk for attempt in healthy])
    until(lambda: ours.filter(status="succeeded").count() == len(healthy), worker)
    assert time.monotonic() - began < SOON
    theirs = rows.filter(pk__in=[attempt.pk for attempt in odd])
    assert not theirs.exclude(status__in=["scheduled", "pending"]).exists()


@pytest.mark.slow
def test_a_worker_leaves_what_it_cannot_open_to_the_one_that_can(database, workers):
    """As in a rolling deploy of a new key: most would be put off for a minute and longer."""
    theirs = forged(database, b"\x01abcd")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    flags = ("--poll-interval=0.1", f"--health-port={port}", f"--database={database}")
    without = workers.start(*flags)
    until(lambda: stored(theirs).status == "scheduled", without)
    with transaction.atomic(database):
        left = [forged(database, b"\x01abcd") for _ in range(20)]
        marker = enqueued(database, effects.record)
    until(lambda: stored(marker).status == "succeeded", without)
    assert {stored(attempt).claim_seq for attempt in left} == {0}
    with urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        figures = answer.read().decode()
    assert 'async_attempts_worker_missing_key_total{key="61626364"} 1\n' in figures


@pytest.mark.slow
def test_a_worker_that_has_the_key_performs_at_once_what_others_put_off(
    database, workers, tmp_path
):
    """As when a key that was removed too early is added again."""
    path = tmp_path / "traces"
    theirs = [enqueued(database, effects.write, str(path)) for _ in range(150)]
    flags = ("--poll-interval=0.1", f"--database={database}")
    workers.settings = {"KEYS": [b64encode(bytes(range(1, 33))).decode()]}
    without = workers.start(*flags)
    rows = Attempt.objects.using(database).filter(pk__in=[attempt.pk for attempt in theirs])
    until(lambda: rows.filter(status="scheduled").count() == len(theirs), without)
    assert rows.exclude(reason__startswith="sealed with key ").count() == 0
    workers.settings = {}
    began = time.monotonic()
    able = workers.start(*flags)
    until(lambda: rows.filter(status="succeeded").count() == len(theirs), able)
    # By itself the first would come after half a minute.
    assert time.monotonic() - began < 15

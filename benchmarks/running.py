"""All workloads on one database."""

from __future__ import annotations

import sys
from contextlib import closing

from .floors import floor_on
from .machine import server
from .proof import Proof
from .report import Section
from .routing import routed_to
from .workloads import WORKLOADS


def measured_on(alias: str, attempts: int, rounds: int) -> Section:
    """What each workload came to on the database `alias`."""
    described, proof, measurements = server(alias), Proof(alias), []
    with routed_to(alias), closing(floor_on(alias)) as floor:
        for workload in WORKLOADS:
            print(f"{described}: {workload.__name__} …", file=sys.stderr)
            measurements.append(workload(floor, proof, attempts=attempts, rounds=rounds))
    return Section(described, measurements, proof.attempts, proof.claimed_again)

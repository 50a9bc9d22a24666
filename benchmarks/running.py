"""The workloads that were asked for, on one database."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

from .floors import floor_on
from .machine import server
from .measurements import Facts, Measurement
from .names import EVERYWHERE
from .peers.found import Peers
from .peers.settings import ALIAS
from .place import Place
from .proof import Proof
from .report import Section
from .routing import routed_to
from .workloads import workload


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much and how often; `seconds`: that an idle worker is watched."""

    attempts: int
    rounds: int
    seconds: float


def measured_on(alias: str, names: Sequence[str], sizes: Sizes, peers: Peers) -> Section:
    """What each workload of `names` came to on the database `alias`."""
    described, proof = server(alias), Proof(alias)
    measurements: list[Measurement | Facts] = []
    if alias != ALIAS:
        peers = Peers()
    peers.prepare()
    with routed_to(alias), closing(floor_on(alias)) as floor:
        place = Place(alias, floor, proof, peers.here, sizes.attempts, sizes.rounds, sizes.seconds)
        for name in names:
            if alias == ALIAS or name in EVERYWHERE:
                print(f"{described}: {name} …", file=sys.stderr)
                measurements += workload(name)(place)
    return Section(described, measurements, proof.attempts, proof.claimed_again, peers.described())

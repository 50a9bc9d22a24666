"""Where a workload is measured, and how much of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.db import connections

from .floors import Floor
from .peers.base import Peer
from .proof import Proof


@dataclass(frozen=True, slots=True)
class Place:
    """One database and who competes on it.

    `attempts`: to be drained in a round; the other workloads take a multiple of it or a part.
    `seconds`: that an idle worker is watched.
    """

    alias: str
    floor: Floor
    proof: Proof
    peers: Sequence[Peer]
    attempts: int
    rounds: int
    seconds: float

    @property
    def distinct_peers(self) -> list[Peer]:
        """Each peer once, where its worker's settings make no difference."""
        return list({peer.distribution: peer for peer in reversed(self.peers)}.values())[::-1]

    @property
    def processes(self) -> int:
        """How many a worker can have here: SQLite has one writer."""
        return 1 if connections[self.alias].vendor == "sqlite" else 2

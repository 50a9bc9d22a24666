"""Which peers can be driven here."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module

from ..names import PEERS
from ..rounds import reason
from .base import Peer


class Peers:
    """Those that are here, and why others are not."""

    def __init__(self, here: Iterable[Peer] = (), missing: dict[str, str] | None = None) -> None:
        self.here = list(here)
        self.missing = missing or {}

    @classmethod
    def found(cls, names: Iterable[str]) -> Peers:
        """Of the peers `names`, those that can be imported."""
        peers = cls()
        for name in names:
            try:
                module = import_module(f".{PEERS[name]}", __package__)
            except Exception as error:  # noqa: BLE001 - whatever it is, it can't be driven
                peers.missing[name] = reason(error)
            else:
                peers.here += module.PEERS
        return peers

    def prepare(self) -> None:
        """Make the tables of each; one that can't is missing."""
        for peer in list(self.here):
            try:
                peer.prepare()
                peer.empty()
            except Exception as error:  # noqa: BLE001 - whatever it is, it can't be driven
                self.here.remove(peer)
                self.missing[peer.name] = reason(error)

    def described(self) -> dict[str, str]:
        missing = {name: f"not measured: {why}" for name, why in self.missing.items()}
        return {peer.name: peer.described() for peer in self.here} | missing

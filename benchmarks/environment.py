"""What the processes of a run are told by their environment."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, Final

from tests.databases import LIVE

MEASURED: Final = "BENCHMARKS_MEASURED"
"""The alias of the database that is being measured."""

PEERS: Final = "BENCHMARKS_PEERS"
"""Whether Django loads the peers' apps; an empty string says no, as our own workers are told."""

PROCESSES: Final = "BENCHMARKS_PROCESSES"
"""How many processes a peer is to run that reads this from its settings; else, its default."""

SEALED_FOR: Final = "BENCHMARKS_RECIPIENTS"
"""Whether a worker opens what is sealed for a recipient; an empty string says no."""

NOTIFY: Final = "BENCHMARKS_NOTIFY"
"""The setting `NOTIFY` of async_attempts; an empty string says no."""


def environment_of(
    alias: str, more: Mapping[str, str] | None = None, *, peers: bool = False
) -> dict[str, str]:
    """The environment of a process that works on the database `alias` alone.

    Those of the peers keep their connections, as each of them advises.
    """
    databases: dict[str, dict[str, Any]] = json.loads(os.environ[LIVE])
    known = {name: databases[name] for name in ("default", alias)}
    if peers:
        known = {name: own | {"CONN_MAX_AGE": None} for name, own in known.items()}
    told = {LIVE: json.dumps(known), MEASURED: alias, PEERS: "1" if peers else ""}
    return os.environ | told | dict(more or {})

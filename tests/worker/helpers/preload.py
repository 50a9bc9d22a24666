"""What every worker process needs, imported once in the process that they are forked from."""

from __future__ import annotations

import django
from django.core.management import load_command_class
from django.db import connections

django.setup()

from tests.shop import effects, hazards  # noqa: E402 they need Django set up

# What would be imported at first use: the command, the databases' drivers, the targets.
PRELOADED = (
    load_command_class("async_attempts", "run_attempts"),
    connections.all(),
    effects,
    hazards,
)

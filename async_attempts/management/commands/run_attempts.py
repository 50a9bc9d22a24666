"""`manage.py run_attempts`: the worker, to be kept alive by a process supervisor."""

from __future__ import annotations

import logging
import sys
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError, CommandParser, SystemCheckError
from django.db import connections
from django.db.utils import Error
from django.utils.translation import gettext as _

from ...conf import settings
from ...exceptions import AttemptsError
from ...worker.options import BATCH_SIZE, Options
from ...worker.readiness import NotReady, require_ready
from ...worker.supervisor import run
from ._arguments import (
    NO_DATABASE,
    USAGE,
    attempts_database,
    batch,
    count,
    name,
    seconds,
)

DEFAULT_POLL_INTERVAL: Final = 1.0


class Command(BaseCommand):
    help = _("Perform attempts until stopped by SIGTERM or SIGINT.")

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "-q", "--queues", help="comma-separated, the first is served first; by default all"
        )
        ends = parser.add_mutually_exclusive_group()
        ends.add_argument("--once", action="store_true", help="perform one claimed batch, then end")
        ends.add_argument("--drain", action="store_true", help="end when nothing is due any more")
        parser.add_argument(
            "--poll-interval",
            type=seconds,
            metavar="SECONDS",
            help="between looks for due attempts",
        )
        parser.add_argument(
            "--batch-size", type=batch, default=BATCH_SIZE, help="the most that one claim takes"
        )
        parser.add_argument("--max-attempts", type=count, help="end after that many executions")
        parser.add_argument("--name", type=name, default="", help="shown in the admin and in logs")
        parser.add_argument("--database", help="alias; by default where the router puts attempts")

    def check(self, *args: Any, **kwargs: Any) -> None:
        """The system checks; what they find is for the project to mend, as wrong usage is."""
        # From Django 6.1 on, checks connect to every database that they aren't kept from; whether
        # ours can be reached has an exit code of its own, and the others aren't a worker's concern.
        kwargs.setdefault("databases", [])
        try:
            super().check(*args, **kwargs)
        except SystemCheckError as error:
            error.returncode = USAGE
            raise

    def handle(self, *args: Any, **options: Any) -> None:
        log_to_console(options["verbosity"])
        database = attempts_database(options["database"])
        if database not in connections:
            raise CommandError(f"--database: {database!r} is not in DATABASES.", returncode=USAGE)
        try:
            queues = self.queues(options["queues"])
            require_ready(database)
        except NotReady as error:
            raise CommandError(str(error), returncode=NO_DATABASE) from error
        except AttemptsError as error:
            raise CommandError(str(error), returncode=USAGE) from error
        try:
            run(
                Options(
                    database=database,
                    queues=queues,
                    name=options["name"],
                    once=options["once"],
                    drain=options["drain"],
                    poll_interval=options["poll_interval"]
                    or settings().POLL_INTERVAL
                    or DEFAULT_POLL_INTERVAL,
                    batch_size=options["batch_size"],
                    max_attempts=options["max_attempts"],
                )
            )
        except Error as error:
            raise CommandError(f"The database failed: {error}", returncode=NO_DATABASE) from error

    def queues(self, given: str | None) -> tuple[str, ...]:
        """The queues to serve, in order. Raises InvalidOption for one that isn't declared."""
        if given is None:
            return tuple(settings().QUEUES)
        names = [name.strip() for name in given.split(",")]
        return tuple(dict.fromkeys(settings().queue(name) for name in names))


def log_to_console(verbosity: int) -> None:
    """Let log lines appear where the project's LOGGING says nothing about them."""
    logger = logging.getLogger("async_attempts")
    if logger.hasHandlers():
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger.addHandler(handler)
    logger.setLevel({0: logging.WARNING, 1: logging.INFO}.get(verbosity, logging.DEBUG))

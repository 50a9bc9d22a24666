"""`manage.py run_attempts`: the worker, to be kept alive by a process supervisor."""

from __future__ import annotations

import logging
import sys
from argparse import BooleanOptionalAction
from dataclasses import fields
from typing import Any

from django.conf import settings as django_settings
from django.core.management.base import BaseCommand, CommandError, CommandParser, SystemCheckError
from django.db import connections
from django.db.utils import Error
from django.utils.translation import gettext as _

from ...conf import settings
from ...encryption import opening_problem
from ...exceptions import AttemptsError, InvalidSetting
from ...worker.health.readiness import NotReady, require_ready, too_small_pools
from ...worker.processes.in_process import run_in_process
from ...worker.processes.supervisor import Supervisor
from ...worker.shared.options import ASYNC_TASKS, BATCH_SIZE, SHUTDOWN_TIMEOUT, THREADS, Options
from ._command_line import (
    NO_DATABASE,
    USAGE,
    add_database,
    attempts_database,
    batch,
    count,
    name,
    port,
    seconds,
)

logger = logging.getLogger("async_attempts")


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
        parser.add_argument("--stop-after", type=count, help="end after that many executions")
        parser.add_argument("--name", type=name, default="", help="shown in the admin and in logs")
        add_database(parser)
        self._add_sizes(parser)
        self._add_lives(parser)

    def _add_sizes(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--processes", type=count, help="children that claim and perform; by default 1"
        )
        parser.add_argument(
            "--threads", type=count, default=THREADS, help="of each child: targets at once"
        )
        parser.add_argument(
            "--async-tasks",
            type=count,
            default=ASYNC_TASKS,
            help="of each child: async targets at once",
        )

    def _add_lives(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--shutdown-timeout",
            type=seconds,
            default=SHUTDOWN_TIMEOUT,
            metavar="SECONDS",
            help="for what has begun, when told to stop; then it is handed back, exit code 4",
        )
        parser.add_argument(
            "--max-performs", type=count, help="replace a child after that many executions"
        )
        parser.add_argument(
            "--max-memory-mb", type=count, help="replace a child that has grown to that"
        )
        parser.add_argument(
            "--max-seconds", type=seconds, metavar="SECONDS", help="replace a child after that time"
        )
        parser.add_argument(
            "--health-port", type=port, metavar="PORT", help="serve /livez, /readyz, /metrics"
        )
        parser.add_argument(
            "--health-host",
            default="",
            metavar="HOST",
            help="the address that --health-port listens on; by default all of the machine",
        )
        parser.add_argument(
            "--reload",
            action=BooleanOptionalAction,
            help="begin again when the code is edited; by default with DEBUG",
        )

    def check(self, *args: Any, **kwargs: Any) -> None:
        """Run the system checks; exit as for wrong usage if they find errors."""
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
        if options["health_host"] and options["health_port"] is None:
            raise CommandError("--health-host: set --health-port, too.", returncode=USAGE)
        try:
            queues = self.queues(options["queues"])
            require_ready(database)
            if problem := opening_problem():
                # Each attempt would wait for its key.
                raise InvalidSetting(problem)
        except NotReady as error:
            raise CommandError(str(error), returncode=NO_DATABASE) from error
        except AttemptsError as error:
            raise CommandError(str(error), returncode=USAGE) from error
        given = {f.name: options[f.name] for f in fields(Options) if f.name in options}
        wanted = Options(
            **given
            | {
                "database": database,
                "queues": queues,
                "processes": self.processes(options, database),
                "reload": self.reloads(options),
            }
        )
        try:
            if getattr(self, "_called_from_command_line", False) or options["processes"]:
                for complaint in too_small_pools(wanted):
                    logger.warning("%s", complaint)
                code = Supervisor(wanted).run()
            else:
                run_in_process(wanted)
                return
        except Error as error:
            raise CommandError(f"The database failed: {error}", returncode=NO_DATABASE) from error
        except AttemptsError as error:
            raise CommandError(str(error), returncode=USAGE) from error
        if code:
            raise SystemExit(code)

    def processes(self, options: dict[str, Any], database: str) -> int:
        """Return the number of children. Raises CommandError if several can't share the work."""
        processes: int = options["processes"] or 1
        if processes == 1:
            return 1
        if connections[database].vendor == "sqlite":
            raise CommandError(
                "--processes: SQLite has one writer; use 1, or another database.", returncode=USAGE
            )
        for flag in ("once", "stop_after"):
            if options[flag]:
                raise CommandError(
                    f"--processes: --{flag.replace('_', '-')} is for one process.", returncode=USAGE
                )
        return processes

    def reloads(self, options: dict[str, Any]) -> bool:
        """Return True if the worker is to look for edited code."""
        exits_when_done = options["once"] or options["drain"]
        if options["reload"] and exits_when_done:
            raise CommandError("--reload: not with --once or --drain.", returncode=USAGE)
        if options["reload"] is None:
            return bool(django_settings.DEBUG) and not exits_when_done
        return bool(options["reload"])

    def queues(self, given: str | None) -> tuple[str, ...]:
        """Return the queues to serve, in order. Raises InvalidOption for an undeclared one."""
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

"""`manage.py attempts`: operators' commands."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, tzinfo
from functools import partial
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from django.core.management.base import CommandError, CommandParser
from django.utils.translation import gettext as _

from ... import schedules
from ...conf import limits
from ...encryption import new_key, new_recipient
from ...events import listeners
from ...exceptions import AttemptsError
from ...lifecycle import Status
from ...models import Schedule
from ...queues import pause_queue, resume_queue
from ...store import Store, store_for
from ...targets import Policy, own_name, queue_of, registered
from . import _pruning, _rotation, _routes, _stats
from ._command_line import USAGE, PipedCommand, add_database, attempts_database

MAKE_KEY: Final = "make-key"


class Verb(NamedTuple):
    """The action of a flag, and its message."""

    act: Callable[..., object]
    past: str


VERBS: Final = {
    "pause": Verb(schedules.pause, "paused"),
    "resume": Verb(schedules.resume, "resumed"),
    "run_now": Verb(schedules.enqueue_now, "an attempt was enqueued"),
    "back_to_code": Verb(schedules.back_to_code, "back to code"),
}
QUEUE_VERBS: Final = {
    "pause": Verb(pause_queue, "paused"),
    "resume": Verb(resume_queue, "resumed"),
}
RUN: Final = {"prune": _pruning.run, "rotate-keys": _rotation.run, "stats": _stats.run}
EVENTS_HEAD: Final = ("EVENT", "LISTENER", "QUEUE", "WHEN")
QUEUES_HEAD: Final = ("QUEUE", "STATE", "PENDING", "LIMITS")
SCHEDULES_HEAD: Final = ("NAME", "WHEN", "TIMEZONE", "NEXT", "SOURCE", "TARGET")
MOST_COUNTED: Final = 100_000


class Command(PipedCommand):
    help = _("Look after attempts.")

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Run the system checks, except before the commands that mend refused settings."""
        if options["subcommand"] == MAKE_KEY:
            options["skip_checks"] = True
        return super().execute(*args, **options)

    def add_arguments(self, parser: CommandParser) -> None:
        commands = parser.add_subparsers(dest="subcommand", required=True, metavar="COMMAND")
        rotate = commands.add_parser(
            "rotate-keys", help="re-encrypt what older keys sealed with the first of the KEYS"
        )
        _rotation.add_arguments(rotate)
        make_key = commands.add_parser(MAKE_KEY, help="print a fresh key for the setting KEYS")
        make_key.add_argument(
            "--recipient",
            action="store_true",
            help="print a private key for PRIVATE_KEYS and its public key for RECIPIENTS instead",
        )
        commands.add_parser("events", help="list who listens to which events")
        commands.add_parser("routes", help="list the queue of each target, and what says so")
        schedules = commands.add_parser("schedules", help="list the recurring schedules")
        verbs = schedules.add_mutually_exclusive_group()
        verbs.add_argument("--pause", metavar="NAME", help="enqueue nothing more until resumed")
        verbs.add_argument("--resume", metavar="NAME", help="go on with the next tick")
        verbs.add_argument("--run-now", metavar="NAME", help="enqueue an attempt beside the ticks")
        verbs.add_argument(
            "--override", metavar="NAME", help="give one of code's the times --cron or --every"
        )
        verbs.add_argument("--back-to-code", metavar="NAME", help="give it code's times again")
        schedules.add_argument("--cron", metavar="CRON", help="with --override")
        schedules.add_argument("--every", metavar="SECONDS", type=int, help="in place of --cron")
        prune = commands.add_parser("prune", help="delete what has ended and isn't to be kept")
        _pruning.add_arguments(prune)
        queues = commands.add_parser("queues", help="list the queues and their limits")
        verbs = queues.add_mutually_exclusive_group()
        verbs.add_argument("--pause", metavar="QUEUE", help="let no worker claim of it")
        verbs.add_argument("--resume", metavar="QUEUE", help="let workers claim of it again")
        figures = commands.add_parser("stats", help="tell what there is to do, and what was done")
        _stats.add_arguments(figures)
        for command in (schedules, queues):
            add_database(command)

    def handle(self, *args: Any, **options: Any) -> None:
        subcommand = options["subcommand"]
        if subcommand == MAKE_KEY:
            self.make_key(options["recipient"])
        elif subcommand == "events":
            self.list_events()
        elif subcommand == "routes":
            self.write_table(_routes.table())
        elif subcommand == "schedules":
            self.schedules(attempts_database(options["database"]), options)
        elif subcommand == "queues":
            self.queues(attempts_database(options["database"]), options)
        else:
            RUN[subcommand](self, attempts_database(options["database"]), options)

    def make_key(self, is_for_recipient: bool) -> None:
        """Print a key, or a line for each half of a recipient's."""
        if not is_for_recipient:
            self.stdout.write(new_key())
            return
        private, public = new_recipient()
        self.stdout.write(f"PRIVATE_KEYS: {private}")
        self.stdout.write(f"RECIPIENTS: {public}")

    def list_events(self) -> None:
        """Print one line for each `@on`, by pattern."""
        if rows := sorted(_subscriptions()):
            self.write_table([EVENTS_HEAD, *rows])
        else:
            self.stdout.write("Nobody listens to events: see @on.")

    def schedules(self, database: str, options: dict[str, Any]) -> None:
        """Act on one schedule, or list them all."""
        store = store_for(database)
        schedules.declare(store)
        times = {"cron": options["cron"], "every": options["every"]}
        override = Verb(partial(schedules.override, **times), "changed by an operator")
        if not self.do_asked({**VERBS, "override": override}, database, options):
            self.write_table([SCHEDULES_HEAD, *_schedules(store)])

    def queues(self, database: str, options: dict[str, Any]) -> None:
        """Act on one queue, or list them all."""
        if not self.do_asked(QUEUE_VERBS, database, options):
            self.write_table([QUEUES_HEAD, *_queues(store_for(database))])

    def do_asked(self, verbs: Mapping[str, Verb], database: str, options: dict[str, Any]) -> bool:
        """Run the verb that a flag asks for; return False if none does."""
        for verb, done in verbs.items():
            if (name := options[verb]) is None:
                continue
            try:
                done.act(name, database=database)
            except AttemptsError as error:
                flag = f"--{verb.replace('_', '-')}"
                raise CommandError(f"{flag}: {error}", returncode=USAGE) from error
            self.stdout.write(f"{name}: {done.past}.")
            return True
        return False


def _schedules(store: Store) -> Iterator[tuple[str, ...]]:
    """Yield the schedules as the rows of a table; next ticks are by each schedule's clock."""
    for row in store.database.schedules.defer("args").order_by("name"):
        when = row.times if row.code_says is None else f"{row.times} (code says {row.code_says})"
        yield row.name, when, row.timezone, _next_tick(row), row.source, row.target


def _next_tick(schedule: Schedule) -> str:
    if not schedule.is_declared:
        return "never: no longer declared"
    if not schedule.is_paused and schedule.next_tick is None and schedule.until is not None:
        return "never: ended"
    if schedule.is_paused or schedule.next_tick is None:
        return "paused"
    try:
        zone: tzinfo = ZoneInfo(schedule.timezone)
    except (LookupError, ValueError):
        # It isn't lost from the list for that; the worker's log says what is wrong.
        zone = UTC
    return schedule.next_tick.astimezone(zone).isoformat(" ", "seconds")


def _queues(store: Store) -> Iterator[tuple[str, ...]]:
    """Yield the declared queues as the rows of a table."""
    paused = store.claims.look(()).paused
    for name, own in limits().items():
        state = "paused" if name in paused else "active"
        rows = store.database.attempts.filter(queue=name, status=Status.PENDING)
        pending = rows[:MOST_COUNTED].count()
        number = f"{pending}+" if pending == MOST_COUNTED else str(pending)
        yield name, state, number, str(own) or "-"


def _subscriptions() -> Iterator[tuple[str, ...]]:
    """Yield the pattern, the listener, its queue and the name of its condition, by pattern."""
    for listener in listeners():
        policy = registered().get(listener.name)
        of_target = queue_of(listener.name, policy or Policy())
        for pattern, when, options in listener.subscriptions:
            queue = options.queue or of_target
            condition = "-" if when is None else own_name(when) or type(when).__name__
            yield pattern, listener.name, queue, condition

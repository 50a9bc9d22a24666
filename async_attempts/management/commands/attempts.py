"""`manage.py attempts`: what operators do from a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, tzinfo
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from django.core.management.base import CommandError, CommandParser
from django.db import connections
from django.utils.translation import gettext as _

from ... import schedules
from ...conf import retention, settings
from ...encryption import new_key, new_recipient
from ...exceptions import AttemptsError, CipherUnavailable, InvalidOption, InvalidSetting
from ...models import Schedule
from ...queues import pause_queue, resume_queue
from ...statistics import stats
from ...store import Store, store_for
from ...store.plaintext import Plaintext
from ...store.resealing import Resealer
from . import _plaintext, _pruning, _rotation, _stats
from ._arguments import USAGE, attempts_database
from ._events import EVENTS_HEAD, subscriptions
from ._pipes import PipedCommand
from ._queues import QUEUES_HEAD, queues
from ._tables import aligned

MAKE_KEY: Final = "make-key"


class Verb(NamedTuple):
    """What a flag does, and how that is told."""

    act: Callable[..., object]
    past: str


VERBS: Final = {
    "pause": Verb(schedules.pause, "paused"),
    "resume": Verb(schedules.resume, "resumed"),
    "run_now": Verb(schedules.enqueue_now, "an attempt was enqueued"),
}
QUEUE_VERBS: Final = {
    "pause": Verb(pause_queue, "paused"),
    "resume": Verb(resume_queue, "resumed"),
}
SCHEDULES_HEAD: Final = ("NAME", "CRON", "TIMEZONE", "NEXT", "SOURCE", "TARGET")


class Command(PipedCommand):
    help = _("Look after attempts.")

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Run the system checks, but for what is to mend the settings that they refuse."""
        if options["subcommand"] == MAKE_KEY:
            options["skip_checks"] = True
        return super().execute(*args, **options)

    def add_arguments(self, parser: CommandParser) -> None:
        commands = parser.add_subparsers(dest="subcommand", required=True, metavar="COMMAND")
        rotate = commands.add_parser(
            "rotate-keys", help="re-encrypt what older keys sealed with the first of the KEYS"
        )
        _plaintext.add_arguments(rotate)
        _rotation.add_arguments(rotate)
        make_key = commands.add_parser(MAKE_KEY, help="print a fresh key for the setting KEYS")
        make_key.add_argument(
            "--recipient",
            action="store_true",
            help="print a private key for PRIVATE_KEYS and its public key for RECIPIENTS instead",
        )
        commands.add_parser("events", help="list who listens to which events")
        schedules = commands.add_parser("schedules", help="list the recurring schedules")
        verbs = schedules.add_mutually_exclusive_group()
        verbs.add_argument("--pause", metavar="NAME", help="enqueue nothing more until resumed")
        verbs.add_argument("--resume", metavar="NAME", help="go on with the next tick")
        verbs.add_argument("--run-now", metavar="NAME", help="enqueue an attempt beside the ticks")
        prune = commands.add_parser("prune", help="delete what has ended and isn't to be kept")
        _pruning.add_arguments(prune)
        queues = commands.add_parser("queues", help="list the queues and their limits")
        verbs = queues.add_mutually_exclusive_group()
        verbs.add_argument("--pause", metavar="QUEUE", help="let no worker claim of it")
        verbs.add_argument("--resume", metavar="QUEUE", help="let workers claim of it again")
        figures = commands.add_parser("stats", help="tell what there is to do, and what was done")
        _stats.add_arguments(figures)
        for command in (rotate, schedules, queues):
            command.add_argument(
                "--database", help="alias; by default where the router puts attempts"
            )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["subcommand"] == MAKE_KEY:
            self.make_key(options["recipient"])
            return
        if options["subcommand"] == "events":
            self.list_events()
            return
        database = attempts_database(options["database"])
        if database not in connections:
            raise CommandError(f"--database: {database!r} is not in DATABASES.", returncode=USAGE)
        if options["subcommand"] == "schedules":
            self.schedules(store_for(database), options)
            return
        if options["subcommand"] == "queues":
            self.queues(store_for(database), options)
            return
        if options["subcommand"] == "stats":
            self.stats(database, options)
            return
        if options["subcommand"] == "prune":
            self.prune(store_for(database), options)
            return
        plaintext = _plaintext.selection(options)
        try:
            resealer = Resealer(
                store_for(database), plaintext=plaintext, from_realm=options["from_realm"]
            )
        except InvalidSetting as error:
            raise CommandError(str(error), returncode=USAGE) from error
        if plaintext is None or self.may_seal(plaintext, resealer.store, options):
            self.rotate(resealer, options)

    def make_key(self, is_for_recipient: bool) -> None:
        """Print a key, or a line for each half of a recipient's."""
        if not is_for_recipient:
            self.stdout.write(new_key())
            return
        private, public = new_recipient()
        self.stdout.write(f"PRIVATE_KEYS: {private}")
        self.stdout.write(f"RECIPIENTS: {public}")

    def list_events(self) -> None:
        """One line for each `@on`, by pattern."""
        if rows := sorted(subscriptions()):
            for line in aligned([EVENTS_HEAD, *rows]):
                self.stdout.write(line)
        else:
            self.stdout.write("Nobody listens to events: see @on.")

    def schedules(self, store: Store, options: dict[str, Any]) -> None:
        """Do what was asked for to one schedule, or list them all."""
        schedules.declare(store)
        if not self.do_asked(VERBS, store, options):
            for line in aligned([SCHEDULES_HEAD, *listed(store)]):
                self.stdout.write(line)

    def queues(self, store: Store, options: dict[str, Any]) -> None:
        """Do what was asked for to one queue, or list them all."""
        if not self.do_asked(QUEUE_VERBS, store, options):
            for line in aligned([QUEUES_HEAD, *queues(store)]):
                self.stdout.write(line)

    def do_asked(self, verbs: Mapping[str, Verb], store: Store, options: dict[str, Any]) -> bool:
        """Do that of `verbs` which was asked for; False if none was."""
        for verb, done in verbs.items():
            if (name := options[verb]) is None:
                continue
            try:
                done.act(name, database=store.alias)
            except AttemptsError as error:
                flag = f"--{verb.replace('_', '-')}"
                raise CommandError(f"{flag}: {error}", returncode=USAGE) from error
            self.stdout.write(f"{name}: {done.past}.")
            return True
        return False

    def stats(self, database: str, options: dict[str, Any]) -> None:
        """Tell the figures of now and of the last while."""
        try:
            figures = stats(database=database, window=_stats.window(options))
        except InvalidOption as error:
            raise CommandError(f"--window: {error}", returncode=USAGE) from error
        if options["json"]:
            self.stdout.write(_stats.as_json(figures))
            return
        for line in aligned([_stats.QUEUES_HEAD, *_stats.queues(figures)]):
            self.stdout.write(line)
        self.stdout.write("")
        for line in aligned(list(_stats.executions(figures))):
            self.stdout.write(line)
        alive = "1 worker is" if figures.workers == 1 else f"{figures.workers} workers are"
        self.stdout.write(f"\n{alive} alive.")
        for line in _stats.missing_keys(figures):
            self.stdout.write(line)

    def prune(self, store: Store, options: dict[str, Any]) -> None:
        """Delete what the settings, or the flags, don't keep, and tell how many."""
        for queue in options["queue"] or ():
            if queue not in settings().QUEUES:
                self.stderr.write(f"--queue: {queue!r} is not declared in QUEUES (any more?).")
        wanted = _pruning.narrowed(
            retention(),
            statuses=options["status"],
            queues=options["queue"],
            older_than=options["older_than"],
        )
        is_dry = options["dry_run"]
        tell = self.stdout.write if options["verbosity"] else _nothing
        try:
            number = _pruning.prune(store, wanted, only_counts=is_dry, tell=tell)
        except _pruning.Refused as error:
            raise CommandError(str(error)) from error
        verb = "would be" if is_dry else "were"
        self.stdout.write(f"{number} attempts {verb} deleted.")

    def may_seal(self, plaintext: Plaintext, store: Store, options: dict[str, Any]) -> bool:
        """List what is stored in plain, and ask whether to seal what was asked for."""
        listed = plaintext.listed(store, options["batch_size"])
        if not listed:
            self.stdout.write("Nothing is stored in plain.")
            return True
        for line in aligned(list(_plaintext.table(listed))):
            self.stdout.write(line)
        if _plaintext.is_confirmed(options):
            return True
        self.stdout.write("Nothing was sealed.")
        return False

    def rotate(self, resealer: Resealer, options: dict[str, Any]) -> None:
        """Seal all schedules and attempts with the first key; tell by key what is left."""
        rotation = _rotation.Rotation(resealer, self.stdout.write, ids=options["ids"])
        try:
            rotation.walk(options["batch_size"])
        except CipherUnavailable as error:
            raise CommandError(f"{error}. What was sealed anew stays so; run it again.") from error
        for line in aligned([_rotation.HEAD, *rotation.rows()]):
            self.stdout.write(line)
        for sentence in rotation.conclusions():
            self.stdout.write(sentence)
        try:
            rotation.require_done(strict=options["strict"])
        except _rotation.Refused as error:
            raise CommandError(str(error)) from error


def listed(store: Store) -> Iterator[tuple[str, ...]]:
    """The schedules as the rows of a table; the next tick is by the schedule's own clock."""
    for row in store.schedules.defer("args").order_by("name"):
        yield row.name, row.cron, row.timezone, _next(row), row.source, row.target


def _next(schedule: Schedule) -> str:
    if not schedule.is_declared:
        return "never: no longer declared"
    if schedule.is_paused or schedule.next_tick is None:
        return "paused"
    try:
        zone: tzinfo = ZoneInfo(schedule.timezone)
    except (LookupError, ValueError):
        # It isn't lost from the list for that; the worker's log says what is wrong.
        zone = UTC
    return schedule.next_tick.astimezone(zone).isoformat(" ", "seconds")


def _nothing(text: str) -> None:
    """Tell nobody."""

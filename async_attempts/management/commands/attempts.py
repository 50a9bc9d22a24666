"""`manage.py attempts`: what operators do from a terminal."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connections
from django.utils.translation import gettext as _

from ...exceptions import InvalidSetting
from ...store import store_for
from ...store.resealing import Resealer
from ._arguments import USAGE, attempts_database, batch


class Command(BaseCommand):
    help = _("Look after attempts.")

    def add_arguments(self, parser: CommandParser) -> None:
        commands = parser.add_subparsers(dest="subcommand", required=True, metavar="COMMAND")
        rotate = commands.add_parser(
            "rotate-keys", help="re-encrypt what older keys sealed with the first of the KEYS"
        )
        rotate.add_argument(
            "--seal-plaintext",
            action="store_true",
            help="encrypt what was stored in plain by NullCipher, too",
        )
        rotate.add_argument("--batch-size", type=batch, default=200)
        rotate.add_argument("--database", help="alias; by default where the router puts attempts")

    def handle(self, *args: Any, **options: Any) -> None:
        database = attempts_database(options["database"])
        if database not in connections:
            raise CommandError(f"--database: {database!r} is not in DATABASES.", returncode=USAGE)
        try:
            resealer = Resealer(store_for(database), seal_plaintext=options["seal_plaintext"])
        except InvalidSetting as error:
            raise CommandError(str(error), returncode=USAGE) from error
        self.rotate(resealer, options["batch_size"])

    def rotate(self, resealer: Resealer, batch_size: int) -> None:
        """Walk over all attempts; exit 1 when something can't be opened with the KEYS."""
        sealed, unreadable, after = resealer.reseal(limit=batch_size)
        while after is not None:
            batch = resealer.reseal(after, batch_size)
            sealed, unreadable, after = (
                sealed + batch.sealed,
                unreadable + batch.unreadable,
                batch.after,
            )
        self.stdout.write(f"{sealed} values were sealed with the first key.")
        if unreadable:
            raise CommandError(
                f"{unreadable} values can't be opened with these KEYS; keep every key until this "
                "number is 0. (What NullCipher stored needs --seal-plaintext.)"
            )

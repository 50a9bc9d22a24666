"""`manage.py demo`: what the shop does, and the proof of what became of it."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Sequence
from typing import Any, Final

from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import OperationalError, connection

from async_attempts.management.commands._command_line import PipedCommand
from example_project.shop.demo.evidence import find, wrong
from example_project.shop.demo.story import Promise, scenes
from example_project.shop.demo.table import lines
from example_project.shop.demo.workers import Worker, start_workers, stop, wait_for
from example_project.shop.warehouse import Warehouse, open_warehouse

WORKERS: Final = 2
USER: Final = "demo"


class Command(PipedCommand):
    help = "Run a small shop for some seconds, and check what became of each attempt."

    def handle(self, *args: Any, **options: Any) -> None:
        begun = time.monotonic()
        try:
            call_command("migrate", verbosity=0)
        except OperationalError as error:
            raise CommandError(f"The database can't be reached: {error}", returncode=3) from error
        self.stdout.write(
            f"A small shop on {connection.display_name}. What follows from an order is enqueued in "
            "its transaction;\nthe workers, manage.py run_attempts, perform it after the commit."
        )
        with (
            open_warehouse(flaky=True) as warehouse,
            start_workers(WORKERS, warehouse.url) as workers,
        ):
            promises = self.play(warehouse, workers)
            stop(workers)
            if options["verbosity"] > 1:
                self.stderr.write("".join(worker.logged for worker in workers))
            # Once more, now that nobody can change it any more.
            mistakes = wrong(find(promises, warehouse), warehouse)
        if mistakes:
            raise CommandError("\n  ".join(["This went other than it should:", *mistakes]))
        checked = (
            f"All {len(promises)} attempts are checked against the warehouse's record, the mails "
            "and the rows. All is well."
        )
        self.stdout.write("\n" + self.style.SUCCESS(checked))
        self.stdout.write(f"This took {time.monotonic() - begun:.1f} s.")
        self.tell_what_next(make_login())

    def play(self, warehouse: Warehouse, workers: Sequence[Worker]) -> list[Promise]:
        """Show each scene as soon as what it promises has ended; returns all promises."""
        promises = []
        for scene in scenes(warehouse):
            made = [*scene.promises, *scene.aside]
            wait_for([promise.attempt for promise in made], workers)
            for line in lines(scene, find(scene.promises, warehouse), self.style):
                self.stdout.write(line)
            self.stdout.flush()
            promises += made
        return promises

    def tell_what_next(self, password: str) -> None:
        same = " with the same DATABASE_URL" if "DATABASE_URL" in os.environ else ""
        self.stdout.write(f"""
Look around{same}: place orders, and retry in the admin what failed.
  python manage.py runserver      http://127.0.0.1:8000/   user {USER}, password {password}
  python manage.py run_attempts   in a second terminal
  python manage.py warehouse      in a third: this one is in a good mood""")


def make_login() -> str:
    """A superuser with a new password, which is returned."""
    password = secrets.token_urlsafe(9)
    user, _ = get_user_model().objects.get_or_create(username=USER)
    user.is_staff = user.is_superuser = True
    user.set_password(password)
    user.save()
    return password

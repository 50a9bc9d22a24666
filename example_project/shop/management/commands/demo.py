"""`manage.py demo`: the main job, from the orders to the proof of what was sent."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError, connection

from async_attempts import Attempt
from async_attempts.lifecycle import LIVE
from example_project.shop.demo.evidence import find, wrong
from example_project.shop.demo.story import place_orders
from example_project.shop.demo.table import lines
from example_project.shop.warehouse import open_warehouse

PATIENCE: Final = 60.0
"""Seconds for what takes about five."""

USER: Final = "demo"


class Command(BaseCommand):
    help = "Place orders, perform what they promised, and check what became of it."

    def handle(self, *args: Any, **options: Any) -> None:
        self.verbosity = options["verbosity"]
        try:
            call_command("migrate", verbosity=0)
        except OperationalError as error:
            raise CommandError(f"The database can't be reached: {error}", returncode=3) from error
        self.stdout.write(
            f"Four orders are placed, on {connection.display_name}. What follows from each is "
            "enqueued in its own transaction:\na call to the warehouse, a mail, a booked sale."
        )
        with open_warehouse(flaky=True) as warehouse:
            promises = place_orders()
            if warehouse.received:
                raise CommandError("The warehouse was called before any worker ran.")
            self.drain([promise.attempt.pk for promise in promises], warehouse.url)
            findings = find(promises, warehouse)
        self.stdout.write("The worker, manage.py run_attempts, has performed what was committed.")
        for line in lines(findings, self.style):
            self.stdout.write(line)
        self.stdout.write("")
        if mistakes := wrong(findings):
            raise CommandError("\n  ".join(["This went other than it should:", *mistakes]))
        checked = (
            "Checked against the warehouse's record, the mail files and the rows: all is well."
        )
        self.stdout.write(self.style.SUCCESS(checked))
        self.tell_what_next(make_login())

    def drain(self, attempt_ids: Iterable[UUID], warehouse_url: str) -> None:
        """Run the worker until these attempts have ended, those that are retried later included."""
        live = Attempt.objects.filter(pk__in=attempt_ids, status__in=LIVE)
        deadline = time.monotonic() + PATIENCE
        self.run_worker(warehouse_url)
        while live.exists():
            if time.monotonic() > deadline:
                raise CommandError(f"{live.count()} attempts had not ended after {PATIENCE:.0f} s.")
            time.sleep(0.2)
            if live.due().exists():
                self.run_worker(warehouse_url)

    def run_worker(self, warehouse_url: str) -> None:
        base: Path = settings.BASE_DIR  # type: ignore[misc]  # as for `warehouse_address`
        worker = subprocess.run(  # noqa: S603 it is our own
            [sys.executable, base / "manage.py", "run_attempts", "--drain"],
            env=os.environ | {"WAREHOUSE_URL": warehouse_url},
            capture_output=True,
            text=True,
            check=False,
        )
        if worker.returncode:
            raise CommandError(f"run_attempts ended with {worker.returncode}:\n{worker.stderr}")
        if self.verbosity > 1:
            self.stderr.write(worker.stderr)

    def tell_what_next(self, password: str) -> None:
        same = " with the same DATABASE_URL" if "DATABASE_URL" in os.environ else ""
        self.stdout.write(f"""
Look at them in the admin{same}:
  python manage.py runserver
  http://127.0.0.1:8000/admin/    user {USER}, password {password}
Retry the failed one there, with a warehouse whose customs office is open:
  python manage.py warehouse      in a second terminal
  python manage.py run_attempts   in a third""")


def make_login() -> str:
    """A superuser with a new password, which is returned."""
    password = secrets.token_urlsafe(9)
    user, _ = get_user_model().objects.get_or_create(username=USER)
    user.is_staff = user.is_superuser = True
    user.set_password(password)
    user.save()
    return password

"""`manage.py warehouse`: the other side of the shop's calls, at `WAREHOUSE_URL`, in a good mood."""

from __future__ import annotations

import time
from typing import Any

from django.core.management.base import BaseCommand

from example_project.shop.clients import warehouse_address
from example_project.shop.warehouse import open_warehouse


class Command(BaseCommand):
    help = "Run a warehouse that answers everything, until Ctrl-C."

    def handle(self, *args: Any, **options: Any) -> None:
        port = int(warehouse_address().rpartition(":")[2])
        with open_warehouse(port) as warehouse:
            self.stdout.write(f"The warehouse is open at {warehouse.url}. End it with Ctrl-C.")
            shown = 0
            try:
                while True:
                    for request in warehouse.received[shown:]:
                        shown += 1
                        self.stdout.write(f"{request.path} {request.body} {request.key}")
                    time.sleep(0.2)
            except KeyboardInterrupt:
                self.stdout.write("closed")

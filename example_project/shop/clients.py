"""Calls to the warehouse, over HTTP."""

from __future__ import annotations

import json
from contextlib import closing
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings

from async_attempts import Backoff, attemptable, current_attempt


class WarehouseRefused(Exception):
    """The warehouse answered, but not as hoped."""


class OrderClient:
    """What the shop asks of the warehouse. Each of these is called by a worker only."""

    @staticmethod
    @attemptable(queue="fulfilment", backoff=Backoff(max_attempts=10), timeout=30)
    def fulfill(*, customer_token: str, order_number: int, express: bool = False) -> str:
        """Have the order packed and sent; returns the parcel's number."""
        order = {"customer": customer_token, "order": order_number, "express": express}
        return str(_post("/parcels", order)["number"])

    @staticmethod
    @attemptable(queue="fulfilment", backoff=Backoff.fixed(0.3, max_attempts=5), timeout=30)
    def print_label(order_number: int) -> str:
        """Have the label printed: flaky, the warehouse's first answer gets lost."""
        return str(_post("/labels", {"order": order_number})["number"])

    @staticmethod
    @attemptable(queue="fulfilment", backoff=Backoff.fixed(0.3, max_attempts=3), timeout=30)
    def declare_at_customs(order_number: int) -> str:
        """Declare the parcel: always fails as long as the warehouse's customs office is closed."""
        return str(_post("/declarations", {"order": order_number})["number"])


def _post(path: str, body: dict[str, Any]) -> dict[str, Any]:
    """The warehouse's answer. Raises WarehouseRefused, OSError, http.client.HTTPException."""
    headers = {
        "Content-Type": "application/json",
        # The same at each execution, so that the warehouse does the work once.
        "Idempotency-Key": current_attempt().idempotency_key,
    }
    with closing(HTTPConnection(warehouse_address(), timeout=10)) as connection:
        connection.request("POST", path, json.dumps(body), headers)
        answer = connection.getresponse()
        content = answer.read()
    if answer.status >= 400:
        raise WarehouseRefused(f"{path} answers {answer.status}: {content.decode()}")
    return dict(json.loads(content))


def warehouse_address() -> str:
    """Host and port of the setting `WAREHOUSE_URL`."""
    url: str = settings.WAREHOUSE_URL  # type: ignore[misc]  # mypy knows the tests' settings
    return urlsplit(url).netloc

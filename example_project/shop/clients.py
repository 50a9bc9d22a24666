"""Calls to the warehouse and to the analytics service, over HTTP."""

from __future__ import annotations

import json
from contextlib import closing
from http import HTTPStatus
from http.client import HTTPConnection
from typing import Any, Final
from urllib.parse import urlsplit

from django.conf import settings

from async_attempts import Backoff, Fail, attemptable, current_attempt

PATIENTLY: Final = Backoff(first=0.3, max_attempts=10)
"""For some two minutes."""


class Refused(Exception):
    """The other side answered, but not as hoped."""


class WarehouseClient:
    """What the shop asks of the warehouse. Each of these is called by a worker only."""

    @staticmethod
    @attemptable(queue="fulfilment", backoff=PATIENTLY, timeout=30)
    def reserve(*, order: int, product: str, quantity: int) -> str:
        """Have goods put aside; returns the reservation's number."""
        return post("/reservations", {"order": order, "product": product, "quantity": quantity})

    @staticmethod
    @attemptable(queue="fulfilment", backoff=PATIENTLY, timeout=30)
    def send_catalogue(address: str) -> str:
        """Have a catalogue sent; returns the parcel's number."""
        return post("/parcels", {"catalogue": address})


def post(path: str, body: dict[str, Any]) -> str:
    """The number of what the other side made of it.

    Raises Refused, OSError and http.client.HTTPException, which are worth a retry, and Fail for
    what will never work.
    """
    headers = {
        "Content-Type": "application/json",
        # The same at each execution, so that the other side does the work once.
        "Idempotency-Key": current_attempt().idempotency_key,
    }
    with closing(HTTPConnection(warehouse_address(), timeout=10)) as connection:
        connection.request("POST", path, json.dumps(body), headers)
        answer = connection.getresponse()
        content = json.loads(answer.read())
    if answer.status == HTTPStatus.CONFLICT:
        raise Fail(content["error"])
    if answer.status >= HTTPStatus.BAD_REQUEST:
        raise Refused(f"{path} answers {answer.status}: {content['error']}")
    return str(content["number"])


def warehouse_address() -> str:
    """Host and port of the setting `WAREHOUSE_URL`."""
    url: str = settings.WAREHOUSE_URL  # type: ignore[misc]  # mypy knows the tests' settings
    return urlsplit(url).netloc

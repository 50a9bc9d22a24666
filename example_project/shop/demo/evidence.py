"""What really happened: the warehouse's record, the mail in the folder, and the rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from email import message_from_bytes
from pathlib import Path
from typing import Final, NamedTuple

from django.conf import settings

from async_attempts import Attempt
from example_project.shop.models import Order, Sale
from example_project.shop.warehouse import Warehouse

from .story import ROLLED_BACK, Fate, Promise

BETWEEN_MAILS: Final = b"\n" + b"-" * 79 + b"\n"
"""What Django's file backend writes after each mail."""


class Finding(NamedTuple):
    """What was promised beside what was found; `errors` has a line for each failure."""

    promise: Promise
    fate: Fate
    errors: list[str]

    @property
    def is_as_it_should_be(self) -> bool:
        return self.fate == self.promise.fate


def find(promises: Iterable[Promise], warehouse: Warehouse) -> list[Finding]:
    """Look for the effects of each promise where they would be, kept or not."""
    folder: Path = settings.MAIL_DIR  # type: ignore[misc]  # as for `warehouse_address`
    mails = mails_by_id(folder)
    return [
        Finding(promise, _fate(promise, warehouse, mails), _errors(promise.attempt))
        for promise in promises
    ]


def wrong(findings: Sequence[Finding]) -> list[str]:
    """A line for each thing that went other than it should."""
    lines = [
        f"order {promise.order_number}, {promise.attempt}: {_told(fate)}; "
        f"it should have: {_told(promise.fate)}"
        for promise, fate, _ in findings
        if fate != promise.fate
    ]
    orders = {finding.promise.order_number for finding in findings}
    kept = {f.promise.order_number for f in findings if f.promise.fate.became != ROLLED_BACK}
    there = set(Order.objects.filter(number__in=orders).values_list("number", flat=True))
    return lines + [
        f"order {number}: {'is there' if number in there else 'is missing'}"
        for number in sorted(kept ^ there)
    ]


def mails_by_id(folder: Path) -> Counter[str]:
    """How many mails there are by Message-ID."""
    texts = [text for path in folder.glob("*.log") for text in _mails(path)]
    return Counter(str(message_from_bytes(text)["Message-ID"]) for text in texts)


def _mails(path: Path) -> list[bytes]:
    return [text for text in path.read_bytes().split(BETWEEN_MAILS) if text.strip()]


def _fate(promise: Promise, warehouse: Warehouse, mails: Counter[str]) -> Fate:
    key = promise.attempt.idempotence_token or str(promise.attempt.pk)
    requests = sum(received.key == key for received in warehouse.received)
    counts = {"request": requests, "mail": mails[f"<{key}@shop.example.com>"]}
    if thing := warehouse.created.get(key):
        counts[thing["kind"]] = 1
    if promise.attempt.method_name == "book_sale":
        counts["sale"] = Sale.objects.filter(order__number=promise.order_number).count()
    effects = ", ".join(counted(n, name) for name, n in counts.items() if n) or "nothing"
    row = Attempt.objects.filter(pk=promise.attempt.pk).first()
    if row is None:
        return Fate(ROLLED_BACK, 0, effects)
    return Fate(row.state, row.num_attempts, effects)


def _errors(attempt: Attempt) -> list[str]:
    return [
        f"execution {failure.number}: {failure.error_class.rpartition('.')[2]}: {failure.message}"
        for failure in attempt.failures.order_by("number")
    ]


def _told(fate: Fate) -> str:
    return f"{fate.became} after {counted(fate.executions, 'execution')} with {fate.effects}"


def counted(number: int, name: str) -> str:
    """1 mail, 2 mails."""
    return f"{number} {name}" if number == 1 else f"{number} {name}s"

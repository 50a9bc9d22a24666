"""What really happened: the warehouse's record, the mail in the folder, and the rows."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from email import message_from_bytes
from pathlib import Path
from typing import Final, NamedTuple

from django.conf import settings

from async_attempts import Attempt
from example_project.shop.models import Entry, Order, Reward
from example_project.shop.warehouse import AT_MOST, SHELF, Warehouse

from .story import ROLLED_BACK, Fate, Promise

BETWEEN_MAILS: Final = b"\n" + b"-" * 79 + b"\n"
"""What Django's file backend writes after each mail."""


class Finding(NamedTuple):
    """What was promised beside what was found; `errors`: what its executions raised, in words."""

    promise: Promise
    fate: Fate
    errors: Sequence[str]

    @property
    def is_as_told(self) -> bool:
        return self.fate == self.promise.fate


def find(promises: Iterable[Promise], warehouse: Warehouse) -> list[Finding]:
    """Look for the effects of each promise where they would be, kept or not."""
    folder: Path = settings.MAIL_DIR  # type: ignore[misc]  # as for `warehouse_address`
    mails = subjects_by_id(folder)
    return [_found(promise, warehouse, mails) for promise in promises]


def wrong(findings: Sequence[Finding], warehouse: Warehouse) -> list[str]:
    """A line for each thing that went other than it should."""
    return [
        *_wrong_fates(findings),
        *_wrong_orders(findings),
        *_wrong_requests(findings, warehouse),
        *_wrong_shelf(warehouse),
        *_wrong_pace(warehouse),
    ]


def _wrong_fates(findings: Sequence[Finding]) -> Iterator[str]:
    for promise, fate, _ in findings:
        if fate != promise.fate:
            where = f"order {promise.order}, " if promise.order else ""
            yield (
                f"{where}{promise.attempt}: {_told(fate)}; it should have: {_told(promise.fate)}"
            )


def _wrong_orders(findings: Sequence[Finding]) -> Iterator[str]:
    fates = {f.promise.order: f.promise.fate for f in findings if f.promise.order is not None}
    kept = {pk for pk, fate in fates.items() if fate != ROLLED_BACK}
    there = set(Order.objects.filter(pk__in=fates).values_list("pk", flat=True))
    for pk in sorted(kept ^ there):
        yield f"order {pk}: {'is there' if pk in there else 'is missing'}"


def _wrong_requests(findings: Sequence[Finding], warehouse: Warehouse) -> Iterator[str]:
    promised = {str(finding.promise.attempt.pk) for finding in findings}
    for received in warehouse.received:
        if received.key not in promised:
            yield f"the warehouse received what nobody promised: {received}"


def _wrong_shelf(warehouse: Warehouse) -> Iterator[str]:
    """What was reserved and not given back must be what was shipped."""
    parcels = [received for received in warehouse.received if received.path == "/parcels"]
    orders = {received.body.get("order") for received in parcels}
    shipped: Counter[str] = Counter()
    for order in Order.objects.filter(pk__in=orders - {None}):
        shipped.update(order.basket)
    for product, number in SHELF.items():
        if (left := warehouse.shelf[product]) != number - shipped[product]:
            yield f"the warehouse's shelf: {left} {product}, not {number - shipped[product]}"


def _wrong_pace(warehouse: Warehouse) -> Iterator[str]:
    if warehouse.most_at_once > AT_MOST:
        yield f"the warehouse: {warehouse.most_at_once} requests at once, not {AT_MOST} at most"


def subjects_by_id(folder: Path) -> dict[str, list[str]]:
    """The subjects of the mails there are by Message-ID: one for each copy."""
    subjects = defaultdict(list)
    for path in folder.glob("*.log"):
        for text in filter(bytes.strip, path.read_bytes().split(BETWEEN_MAILS)):
            mail = message_from_bytes(text)
            subjects[str(mail["Message-ID"])].append(str(mail["Subject"]))
    return subjects


def _found(promise: Promise, warehouse: Warehouse, mails: dict[str, list[str]]) -> Finding:
    effects = ", ".join(_effects(promise, warehouse, mails)) or "nothing"
    row = Attempt.objects.filter(pk=promise.attempt.pk).first()
    if row is None:
        return Finding(promise, Fate(ROLLED_BACK.became, 0, effects), ())
    failures = row.failures.order_by("number")
    raised = [(f.number, f.error_class.rpartition(".")[2], f.message) for f in failures]
    names = tuple(name for _, name, _ in raised)
    fate = Fate(row.state, row.num_attempts, effects, names)
    return Finding(promise, fate, _in_words(raised))


def _effects(promise: Promise, warehouse: Warehouse, mails: dict[str, list[str]]) -> Iterator[str]:
    attempt = promise.attempt
    key = str(attempt.pk)
    if requests := sum(received.key == key for received in warehouse.received):
        yield counted(requests, "request")
    if thing := warehouse.created.get(key):
        yield counted(1, thing["kind"])
    if subjects := mails.get(f"<{key}@shop.example.com>"):
        yield counted(len(subjects), "mail") + (f' "{subjects[0]}"' if attempt.schedule else "")
    of_order = {"order": promise.order}
    if attempt.method_name == "reward":
        for reward in Reward.objects.filter(**of_order):
            yield counted(reward.points, "point")
    if attempt.method_name == "close_the_books":
        for entry in Entry.objects.filter(**of_order).order_by("id"):
            yield f"1 entry of {entry.amount:.2f} EUR"


def _in_words(raised: Iterable[tuple[int, str, str]]) -> list[str]:
    """A line for each error, with the executions that raised the same."""
    numbers = defaultdict(list)
    for number, name, message in raised:
        numbers[f"{name}: {message}"].append(str(number))
    return [
        f"{'executions' if len(some) > 1 else 'execution'} {', '.join(some)}: {error}"
        for error, some in numbers.items()
    ]


def _told(fate: Fate) -> str:
    raised = "".join(f", {name}" for name in fate.raised)
    executions = counted(fate.executions, "execution")
    return f"{fate.became} after {executions}{raised} with {fate.effects}"


def counted(number: int, name: str) -> str:
    """1 mail, 2 mails."""
    return f"{number} {name}" if number == 1 else f"{number} {name}s"

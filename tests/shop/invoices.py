"""Types of the shop's own, and targets that take and return them."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any

from async_attempts import attemptable, storable


class State(Enum):
    OPEN = "open"
    PAID = "paid"


def in_euros(data: dict[str, Any]) -> dict[str, Any]:
    """Version 1 knew one currency."""
    return {"amount": data["euros"], "currency": "EUR"}


@storable(name="shop.Money", version=2, upgrade={1: in_euros}, aliases="shop.money.Price")
@dataclass(frozen=True)
class Money:
    amount: Decimal
    currency: str = "EUR"


@storable
@dataclass
class Line:
    text: str
    price: Money
    parts: list[Line] = field(default_factory=list)


@storable
@dataclass(kw_only=True, slots=True)
class Invoice:
    number: int
    lines: list[Line] = field(default_factory=list)
    state: State = State.OPEN
    paid: Money | None = None
    scan: Path | None = None


class Coordinates:
    """As a library's class that knows nothing of attempts."""

    def __init__(self, north: float, east: float) -> None:
        self.north, self.east = north, east

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Coordinates) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((self.north, self.east))


storable(
    Coordinates,
    store=lambda place: [place.north, place.east],
    load=lambda data: Coordinates(*data),
    name="shop.Coordinates",
)


@attemptable
def file_invoice(invoice: Invoice, folder: Path, **also: Any) -> Invoice:
    """Write down what came, and return the invoice as paid."""
    text = f"{invoice!r} {also}"
    (folder / f"{invoice.number}.txt").write_text(text)
    invoice.state = State.PAID
    return invoice


@attemptable
def post_invoice(invoice: Invoice, folder: Path) -> None:
    (folder / f"{invoice.number}.posted").write_text(repr(invoice))

"""Contenders take turns, round by round, so that drift of the machine hits them alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

Contender = Callable[[int], float]
"""Takes so many rows and returns the seconds that it took for them."""


class Spread(NamedTuple):
    """What the rounds came to."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        return cls(median(values), min(values), max(values))


@dataclass(frozen=True, slots=True)
class Measurement:
    """One workload on one database: the rates of each contender, in rows/s, a round each."""

    workload: str
    rows: int
    baseline: str
    rates: Mapping[str, list[float]]

    def rate(self, contender: str) -> Spread:
        return Spread.of(self.rates[contender])

    def ratio(self, contender: str) -> Spread:
        """To the baseline in the same round."""
        pairs = zip(self.rates[contender], self.rates[self.baseline], strict=True)
        return Spread.of([rate / base for rate, base in pairs])


def in_rounds(
    workload: str, contenders: Mapping[str, Contender], *, rows: int, rounds: int
) -> Measurement:
    """Let `contenders`, of which the first is the baseline, take turns, after one to warm up.

    Each round begins with another one, so that none always follows the same.
    """
    names = list(contenders)
    rates: dict[str, list[float]] = {name: [] for name in names}
    for name in names:
        contenders[name](max(1, rows // 10))
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            rates[name].append(rows / contenders[name](rows))
    return Measurement(workload, rows, names[0], rates)

"""What was measured: rates that are compared, and figures that stand side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import NamedTuple


class Spread(NamedTuple):
    """What the rounds came to."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(median(values), min(values), max(values))


@dataclass(frozen=True, slots=True)
class Measurement:
    """One workload on one database: the rates of each contender, in rows/s, a round each.

    `rows`: of each contender, in a round. `left_out`: who couldn't take part, and why.
    """

    workload: str
    baseline: str
    rows: Mapping[str, int]
    rates: Mapping[str, Sequence[float]]
    left_out: Mapping[str, str] = field(default_factory=dict)

    def rate(self, contender: str) -> Spread:
        return Spread.of(self.rates[contender])

    def ratio(self, contender: str) -> Spread:
        """To the baseline in the same round."""
        pairs = zip(self.rates[contender], self.rates[self.baseline], strict=True)
        return Spread.of([rate / base for rate, base in pairs])


@dataclass(frozen=True, slots=True)
class Facts:
    """One workload on one database that gives each contender several figures, one a column."""

    workload: str
    columns: Sequence[str]
    figures: Mapping[str, Sequence[float]]
    left_out: Mapping[str, str] = field(default_factory=dict)

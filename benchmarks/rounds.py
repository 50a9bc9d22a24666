"""Contenders take turns, round by round, so that drift of the machine hits them alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .measurements import Measurement


@dataclass(frozen=True, slots=True)
class Contender:
    """`measure` takes so many rows and returns the seconds that it took for them.

    `share`: of a round's rows, for those that would take minutes for all. `optional`: when it
    can't be measured, it is left out and the others go on.
    """

    name: str
    measure: Callable[[int], float]
    share: float = 1.0
    optional: bool = False

    def of(self, rows: int) -> int:
        return max(1, round(rows * self.share))


def in_rounds(
    workload: str, contenders: Sequence[Contender], *, rows: int, rounds: int
) -> Measurement:
    """Let `contenders`, of which the first is the baseline, take turns, after one to warm up.

    Each round begins with another one, so that none always follows the same. Where there is only
    one round, which tells no more than that it runs, nothing is warmed up.
    """
    turns = Turns({one.name: one for one in contenders}, rows)
    for one in contenders if rounds > 1 else ():
        turns.take(one, max(1, one.of(rows) // 10))
    for number in range(rounds):
        first = number % len(contenders)
        for one in (*contenders[first:], *contenders[:first]):
            turns.take(one, one.of(rows), counts=True)
    return turns.measurement(workload, contenders[0].name)


class Turns:
    """Who is still in, and what they came to."""

    def __init__(self, contenders: dict[str, Contender], rows: int) -> None:
        self.contenders = contenders
        self.rows = rows
        self.rates: dict[str, list[float]] = {name: [] for name in contenders}
        self.left_out: dict[str, str] = {}

    def take(self, one: Contender, rows: int, *, counts: bool = False) -> None:
        if one.name in self.left_out:
            return
        try:
            seconds = one.measure(rows)
        except Exception as error:
            if not one.optional:
                raise
            self.left_out[one.name] = reason(error)
            del self.rates[one.name]
        else:
            if counts:
                self.rates[one.name].append(rows / seconds)

    def measurement(self, workload: str, baseline: str) -> Measurement:
        rows = {name: self.contenders[name].of(self.rows) for name in self.rates}
        return Measurement(workload, baseline, rows, self.rates, self.left_out)


def reason(error: Exception) -> str:
    """The error in one line."""
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"

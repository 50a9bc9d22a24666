"""A run's figures, as Markdown for people and as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

from .rounds import Measurement, Spread

HEAD = "| {workload}, {rows:,} a round | rows/s | min-max | µs a row | ratio | min-max |"


@dataclass(frozen=True, slots=True)
class Section:
    """One database: its version and durability, its figures, and how many attempts were checked."""

    server: str
    measurements: Sequence[Measurement]
    checked: int
    claimed_again: int


def markdown(machine: Mapping[str, str], sections: Sequence[Section]) -> str:
    """Tables: medians over the rounds, and ratios within a round."""
    lines = [f"- {name}: {value}" for name, value in machine.items()]
    for section in sections:
        lines += ["", f"### {section.server}"]
        for measured in section.measurements:
            lines += ["", *_table(measured)]
        lines += ["", _checked(section)]
    return "\n".join(lines)


def _table(measured: Measurement) -> Iterator[str]:
    yield HEAD.format(workload=measured.workload, rows=measured.rows)
    yield "|---|---:|---:|---:|---:|---:|"
    for name in measured.rates:
        rate, ratio = measured.rate(name), measured.ratio(name)
        micros = 1e6 / rate.median
        ratios = f"{ratio.median:.2f} | {_range(ratio, '.2f')}"
        if name == measured.baseline:
            ratios = "1 | "
        yield f"| {name} | {rate.median:,.0f} | {_range(rate, ',.0f')} | {micros:,.0f} | {ratios} |"


def _checked(section: Section) -> str:
    return (
        f"Performed exactly once: all of {section.checked:,} attempts. Claimed a second time, "
        f"having been given back before they began: {section.claimed_again:,} of them."
    )


def _range(spread: Spread, form: str) -> str:
    return f"{spread.least:{form}}-{spread.most:{form}}"


def as_json(machine: Mapping[str, str], sections: Sequence[Section]) -> str:
    """Every round of every contender, rates in rows/s."""
    databases = [asdict(section) for section in sections]
    return json.dumps({"machine": machine, "databases": databases}, indent=2)

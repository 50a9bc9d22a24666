"""A run's figures, as Markdown for people and as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

from .measurements import Facts, Measurement, Spread

HEAD = "| {workload}, {rows:,} a round | rows/s | min-max | µs a row | ratio | min-max |"


@dataclass(frozen=True, slots=True)
class Section:
    """One database: its version and durability, its figures, and how many attempts were checked.

    `peers`: what each is and by which settings it is driven, or why it isn't.
    """

    server: str
    measurements: Sequence[Measurement | Facts]
    checked: int
    claimed_again: int
    peers: Mapping[str, str]


def markdown(machine: Mapping[str, str], sections: Sequence[Section]) -> str:
    """Tables: medians over the rounds, and ratios within a round."""
    lines = [f"- {name}: {value}" for name, value in machine.items()]
    for section in sections:
        lines += ["", f"### {section.server}"]
        for measured in section.measurements:
            lines += ["", *_table(measured)]
            lines += [f"\nLeft out: {name}: {why}" for name, why in measured.left_out.items()]
        if section.peers:
            lines += ["", *(f"- {name}: {settings}" for name, settings in section.peers.items())]
        lines += ["", _checked(section)]
    return "\n".join(lines)


def _table(measured: Measurement | Facts) -> Iterator[str]:
    return _rates(measured) if isinstance(measured, Measurement) else _facts(measured)


def _rates(measured: Measurement) -> Iterator[str]:
    rows = measured.rows[measured.baseline]
    yield HEAD.format(workload=measured.workload, rows=rows)
    yield "|---|---:|---:|---:|---:|---:|"
    for name in measured.rates:
        rate, ratio = measured.rate(name), measured.ratio(name)
        micros = 1e6 / rate.median
        digits = ".2f" if ratio.median >= 0.1 else ".3f"
        ratios = f"{ratio.median:{digits}} | {_range(ratio, digits)}"
        if name == measured.baseline:
            ratios = "1 | "
        own = measured.rows[name]
        label = name if own == rows else f"{name} ({own:,} a round)"
        rates = f"{rate.median:,.0f} | {_range(rate, ',.0f')}"
        yield f"| {label} | {rates} | {micros:,.0f} | {ratios} |"


def _facts(facts: Facts) -> Iterator[str]:
    yield f"| {facts.workload} | {' | '.join(facts.columns)} |"
    yield "|---|" + "---:|" * len(facts.columns)
    for name, figures in facts.figures.items():
        yield f"| {name} | {' | '.join(f'{figure:,.2f}' for figure in figures)} |"


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

"""The findings of a scene as a table for people."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from django.core.management.color import Style

from .evidence import Finding, counted
from .story import Scene

WIDTHS = (8, 19, 11, 12)
"""Of the columns but the last, which are the same in all scenes."""

INDENT = " " * 14


def lines(scene: Scene, findings: Sequence[Finding], style: Style) -> Iterator[str]:
    """The table, with what was raised and why; coloured where `style` is."""
    yield ""
    yield f"{style.MIGRATE_HEADING(scene.heading + ':')} {scene.code}"
    are_one = scene.as_one and len({finding.fate for finding in findings}) == 1
    for finding in findings[:1] if are_one else findings:
        yield "  " + _painter(finding, style)(_row(finding, scene.as_one if are_one else ""))
        notes = [*finding.errors, *finding.promise.because.splitlines()]
        yield from (f"{INDENT}{note}" for note in notes)
    yield from (f"{INDENT}{note}" for note in scene.remark().splitlines())


def _row(finding: Finding, name: str) -> str:
    promise, fate, _ = finding
    product = promise.attempt.metadata.get("product", "")
    cells = (
        f"order {promise.order}" if promise.order else "",
        name or f"{promise.attempt.method_name} {product}",
        fate.became,
        counted(fate.executions, "execution"),
    )
    padded = [cell.ljust(width) for cell, width in zip(cells, WIDTHS, strict=True)]
    return "  ".join([*padded, fate.effects])


def _painter(finding: Finding, style: Style) -> Callable[[str], str]:
    if not finding.is_as_told:
        return style.ERROR
    paints = {"succeeded": style.SUCCESS, "failed": style.WARNING}
    return paints.get(finding.fate.became, str)

"""The findings as a table for people."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from django.core.management.color import Style

from .evidence import Finding, counted
from .story import FAILED, ROLLED_BACK

Row = tuple[str, ...]


def lines(findings: Sequence[Finding], style: Style) -> Iterator[str]:
    """The table, one group for each kind of outcome; coloured where `style` is."""
    rows = [_row(finding) for finding in findings]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for heading, belongs, paint in _groups(style):
        group = [f for f in findings if belongs(f)]
        if not group:
            continue
        yield ""
        yield style.MIGRATE_HEADING(heading)
        noted = ""
        for finding in group:
            text = "  ".join(cell.ljust(w) for cell, w in zip(_row(finding), widths, strict=True))
            yield "  " + (paint if finding.is_as_it_should_be else style.ERROR)(text.rstrip())
            for note in finding.errors:
                yield f"      {note}"
            if finding.promise.because != noted:
                noted = finding.promise.because
                yield f"      {noted}"


def _row(finding: Finding) -> Row:
    promise, fate, _ = finding
    target = promise.attempt.target.rpartition(".")[2]
    return (
        str(promise.order_number),
        f"{target}.{promise.attempt.method_name}",
        fate.became,
        counted(fate.executions, "execution"),
        fate.effects,
    )


def _groups(
    style: Style,
) -> Sequence[tuple[str, Callable[[Finding], bool], Callable[[str], str]]]:
    def came_to(finding: Finding) -> str:
        if finding.fate.became in (ROLLED_BACK, FAILED):
            return finding.fate.became
        return "retried" if finding.errors else "sent"

    return [
        ("Sent", lambda f: came_to(f) == "sent", style.SUCCESS),
        ("Retried", lambda f: came_to(f) == "retried", style.SUCCESS),
        ("Not sent: rolled back", lambda f: came_to(f) == ROLLED_BACK, style.NOTICE),
        ("Failed, for people to triage", lambda f: came_to(f) == FAILED, style.WARNING),
    ]

"""Reads the documentation: its pages, its Python, its tables."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PYTHON: Final = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def python_blocks(page: Path) -> list[str]:
    """The Python of a page, each block with as many empty lines before it as it needs for errors
    to have the line numbers of the page."""
    text = page.read_text()
    return ["\n" * text[: m.start(1)].count("\n") + m[1] for m in PYTHON.finditer(text)]


def table(page: str, first_heading: str) -> list[list[str]]:
    """The cells of the page's table whose first column has this heading, without its head."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in (ROOT / "docs" / page).read_text().splitlines()
    ]
    start = next(n for n, row in enumerate(rows) if row[0] == first_heading) + 2
    end = next(n for n in range(start, len(rows)) if len(rows[n]) == 1)
    return rows[start:end]

"""The documentation's tables say what the code says."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import pytest
from django.core.management.base import BaseCommand
from django.db.models import BinaryField
from django.dispatch import Signal

import async_attempts
from async_attempts import Attempt, signals
from async_attempts.conf import Settings
from async_attempts.lifecycle import MOVES, Status
from async_attempts.management.commands.run_attempts import Command
from async_attempts.models import Failure, Schedule
from async_attempts.retention import Keep
from async_attempts.targets import EventOptions, Policy
from async_attempts.worker.shared.options import Options
from tests.examples.documented import PAGES, ROOT, table

PACKAGE: Final = Path(async_attempts.__file__).parent

Edge = tuple[str, str, str]
NOTHING = "–"  # noqa: RUF001 as the table writes it


def states(cell: str) -> frozenset[str | None]:
    return frozenset(None if name == NOTHING else name for name in cell.split(", "))


def unquoted(cell: str) -> str:
    return cell.strip("`")


def test_the_table_of_moves_is_the_lifecycle():
    documented = [(verb, states(a), states(b)) for verb, a, b, _ in table("lifecycle.md", "move")]
    assert documented == list(MOVES)


def test_the_diagram_of_moves_is_the_lifecycle():
    drawn = re.findall(r"^    (\S+) --> (\S+): (.+)$", page_text("lifecycle.md"), re.MULTILINE)
    edges = [(verb, a, b) for a, b, verbs in drawn for verb in verbs.split(", ")]
    assert sorted(edges) == sorted(edges_of_the_lifecycle())


def edges_of_the_lifecycle() -> Iterable[Edge]:
    for verb, sources, targets in MOVES:
        for source in sources:
            # A move in time may leave an attempt where it is; the diagram has no loops.
            others = [target for target in targets if target != source]
            yield from ((verb, source or "[*]", target) for target in others)


def test_the_table_of_statuses_has_all_of_them():
    assert {unquoted(row[0]) for row in table("lifecycle.md", "status")} == set(Status.values)


def test_the_table_of_settings_has_all_of_them_and_their_defaults():
    documented = {unquoted(key): default for key, default, _ in table("settings.md", "key")}
    defaults = {field.name: plain(getattr(Settings(), field.name)) for field in fields(Settings)}
    assert {key: ast.literal_eval(unquoted(d)) for key, d in documented.items()} == defaults


def plain(value: Any) -> Any:
    """As a settings file would write it."""
    if isinstance(value, Keep):
        return value.age
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return list(value) if isinstance(value, tuple) else value


def test_the_table_of_target_options_has_all_of_them():
    documented = {unquoted(option) for option, *_ in table("targets.md", "option")}
    assert documented == {field.name for field in fields(Policy)}


def test_the_table_of_options_of_on_has_all_of_them():
    cells = [cell for cell, _ in table("events.md", "option of `@on`")]
    documented = [unquoted(option) for cell in cells for option in cell.split(", ")]
    assert documented == ["when", *EventOptions.__annotations__]


def test_the_table_of_flags_has_all_of_them():
    documented = {unquoted(f) for cell, _ in table("worker.md", "flag") for f in cell.split(", ")}
    assert documented == flags(Command()) - flags(BaseCommand())


def flags(command: BaseCommand) -> set[str]:
    parser = command.create_parser("manage.py", "run_attempts")
    return {flag for action in parser._actions for flag in action.option_strings}


def test_the_table_of_flags_tells_the_defaults():
    told = {
        unquoted(cell).lstrip("-").replace("-", "_"): float(default[0])
        for cell, meaning in table("worker.md", "flag")
        if (default := re.findall(r"(\d+) by default", meaning))
    }
    options = Options(database="default", queues=("default",))
    assert told == {name: getattr(options, name) for name in told}
    assert told.keys() >= {"processes", "threads", "async_tasks", "shutdown_timeout", "batch_size"}


def test_the_table_of_announcements_has_all_of_them():
    documented = [unquoted(n) for cell, *_ in table("results.md", "sent") for n in cell.split(", ")]
    sent = {name for name, value in vars(signals).items() if isinstance(value, Signal)}
    assert sorted(documented) == sorted(sent)


@pytest.mark.parametrize("heading", ["signal", "code"])
def test_who_deploys_reads_the_same_of_signals_and_exit_codes(heading):
    by_deploy = [row[:2] for row in table("deploy/README.md", heading)]
    assert by_deploy == table("worker.md", heading)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text()):
        path, _, anchor = link.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.is_file(), link
        assert not anchor or anchor in anchors(linked.read_text()), link


def anchors(text: str) -> set[str]:
    """The fragments of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def page_text(page: str) -> str:
    return (ROOT / "docs" / page).read_text()


def test_the_way_of_one_attempt_names_files_that_exist():
    ways = [re.findall(r"`(\S+\.py)`", files) for _, files in table("architecture.md", "step")]
    named = [file for files in ways for file in files]
    assert named
    assert [file for file in named if not (PACKAGE / file).is_file()] == []


def test_encryption_lists_every_readable_column():
    listed = {row[0]: row[1] for row in table("encryption.md", "table")}
    for name, model in (("attempts", Attempt), ("failures", Failure), ("schedules", Schedule)):
        named = set(re.findall(r"`(\w+)`", listed[name]))
        columns = {
            field.column
            for field in model._meta.concrete_fields
            if not isinstance(field, BinaryField)
        }
        # A digest, of which the page says what it is.
        assert named == columns - {"unique_key"}, name

"""The pytest plugin that leaves out what is slow, unless it is asked for.

`pytest` runs what is not marked `slow`, `pytest -m slow` the rest, `pytest -m ""` everything. What
the command line names by its id, with `::`, runs in any case. A test is slow by one of the rules of
`is_slow`, or because it carries the mark itself.
"""

from __future__ import annotations

from typing import Any, Final

import pytest

from tests.databases import ALIASES

QUICK: Final = "not slow"
"""What `-m` says in pyproject.toml, and so when nobody says anything else."""

STARTS_PROCESSES: Final = frozenset({"child_environment", "own_server"})
"""The fixtures of tests that start worker processes, or a server of their own."""

ON_POSTGRESQL_TOO: Final = ("tests/store/", "tests/worker/", "tests/faults/", "tests/reports/")
"""Where the database matters; elsewhere SQLite stands for all."""

SAMPLES: Final = {
    "test_others_see_it_while_the_target_runs": "postgresql-tell_what_others_see",
    "test_what_a_frozen_group_held_is_performed_by_another": "postgresql",
    "test_they_are_never_exceeded_and_no_place_is_lost": "sqlite",
    "test_an_outcome_is_recorded_though_the_connections_were_cut_meanwhile": "postgresql-goes on",
    "test_a_child_that_dies_there_leaves_it_to_the_next": "sqlite-leased after claim",
    "test_a_connection_that_is_cut_there_repeats_nothing": "postgresql-leased after finish",
    "test_a_worker_that_dies_there_leaves_it_to_the_next": "postgresql-atomic after effect",
    "test_restarts_under_load_lose_and_repeat_nothing": None,
    "test_it_fails_and_the_unbegun_around_it_lose_nothing": "postgresql-segfault",
    "test_nothing_is_lost_stuck_or_applied_twice": "postgresql",
    "test_a_supervisor_rescues_at_once_what_its_child_had_begun": "postgresql",
    "test_without_a_supervisor_another_worker_rescues_within_the_lease_and_ten_seconds": "sqlite",
    "test_the_begun_end_and_the_unbegun_are_given_back": "postgresql-15-told_as_a_group",
    "test_nothing_runs_beside_it_in_its_process_though_there_is_always_more_due": "postgresql",
    "test_an_exception_ends_who_can_be_reached_and_the_process_goes_on": "postgresql-1-loop",
    "test_its_process_ends_who_cannot_be_reached_and_the_neighbours_lose_no_count": (
        "postgresql-hang_in_c"
    ),
}
"""One of each kind of fault, with its parameters, which isn't slow though it starts processes."""


def pytest_configure(config: pytest.Config) -> None:
    if config.option.markexpr == QUICK and all("::" in name for name in config.args):
        config.option.markexpr = ""


def pytest_report_header(config: pytest.Config) -> str:
    if config.option.markexpr == QUICK:
        return (
            "left out: MariaDB, worker processes and what else is slow, but for a sample; "
            'run that by `pytest -m slow`, or everything by `pytest -m ""`'
        )
    return f"selected: {config.option.markexpr or 'everything'}"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if is_slow(item):
            item.add_marker("slow")


def is_slow(item: pytest.Item) -> bool:
    """Whether its kind makes this test slow."""
    parameters: Any = getattr(item, "callspec", None)
    name = item.name.partition("[")[0]
    if name in SAMPLES and SAMPLES[name] == (parameters and parameters.id):
        return False
    starts_processes = not STARTS_PROCESSES.isdisjoint(getattr(item, "fixturenames", ()))
    database = parameters.params.get("database") if parameters else None
    return starts_processes or _is_left_to_sqlite(item, database)


def _is_left_to_sqlite(item: pytest.Item, database: str | None) -> bool:
    """Whether it runs on a server, and SQLite says enough for now."""
    if database != ALIASES["postgresql"]:
        return database == ALIASES["mariadb"]
    only = item.get_closest_marker("only")
    runs_on_sqlite = only is None or "sqlite" in only.args
    return runs_on_sqlite and not item.nodeid.startswith(ON_POSTGRESQL_TOO)

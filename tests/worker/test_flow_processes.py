"""What follows others begins at once, however many processes perform them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from async_attempts import Attempt, call, parallel
from tests.shop import flows
from tests.worker.helpers.processes import until

GROUPS = 4
SOON = timedelta(seconds=3)
"""A sweep comes after five seconds or more."""


@pytest.mark.slow
@pytest.mark.only("postgresql", "mariadb", reason="SQLite has one writer at a time")
def test_what_follows_a_group_begins_when_its_last_member_ends(database, workers):
    worker = workers.start(f"--database={database}", "--processes=3", "--skip-checks")
    rows: Any = Attempt._base_manager.using(database)
    for _ in range(GROUPS):
        members = parallel(*[call(flows.fetch, number) for number in range(200)])
        follower = members.then(flows.build).using(database=database).enqueue()
        until(rows.filter(pk=follower.pk, status="succeeded").exists, worker)
        begun = rows.values_list("started_at", flat=True).get(pk=follower.pk)
        ended = rows.filter(method_name="fetch").values_list("completed_at", flat=True)
        assert begun - max(ended) < SOON

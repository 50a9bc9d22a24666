"""None of the rights that `docs/permissions.md` gives could be left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
from django.apps import apps
from django.core.management import CommandError
from django.db import ProgrammingError, connections

from async_attempts import AttemptFailed, call
from async_attempts.worker.health.readiness import NotReady
from tests.deploy import test_role_web, test_role_worker
from tests.deploy.roles import Roles, roles
from tests.shop import flows
from tests.worker.helpers.attempts import drain

__all__ = ["roles"]

pytestmark = [
    pytest.mark.only("postgresql", reason="the page's SQL is PostgreSQL's"),
    pytest.mark.slow,
]

TABLE_RIGHTS = """
SELECT relname, privilege_type, '' FROM pg_class, aclexplode(relacl)
WHERE grantee = %s::regrole
UNION ALL
SELECT relname, privilege_type, attname
FROM pg_attribute JOIN pg_class c ON c.oid = attrelid, aclexplode(attacl)
WHERE grantee = %s::regrole
ORDER BY 1, 2, 3
"""


EMPTY = "TRUNCATE " + ", ".join(
    model._meta.db_table for model in apps.get_app_config("async_attempts").get_models()
)


class Right(NamedTuple):
    """One right, as GRANT and REVOKE name it; of a column, or of the whole table."""

    table: str
    verb: str
    column: str

    @property
    def sql(self) -> str:
        column = f" ({self.column})" if self.column else ""
        return f"{self.verb}{column} ON {self.table}"


def rights_of(roles: Roles, kind: str) -> Iterator[Right]:
    """All that the page gives to this role."""
    with connections[roles.alias].cursor() as cursor:
        cursor.execute(TABLE_RIGHTS, [f'"{roles.name(kind)}"'] * 2)
        yield from (Right(*row) for row in cursor.fetchall())


def follow_older_attempts(roles: Roles) -> None:
    """What web processes do after what workers did."""
    new = {"database": roles.alias, "keep_result": True}
    older = [call(target, 1).using(**new).enqueue() for target in (flows.fetch, flows.refuse)]
    for each in older:
        with roles.acting_as("web"):
            call(flows.clear_up).using(database=roles.alias, depends_on=[each]).enqueue()
    drain(roles.alias)
    with roles.acting_as("web"):
        for each in older:
            call(flows.clear_up).using(database=roles.alias, depends_on=[each]).enqueue()
        with pytest.raises(AttemptFailed):
            older[1].result(timeout=5)


def as_role(kind: str, work: Callable[[str], Any]) -> Callable[[Roles], None]:
    def acting(roles: Roles) -> None:
        with roles.acting_as(kind):
            work(roles.alias)

    return acting


DEEDS = {
    "web": [*(as_role("web", way) for way in test_role_web.WAYS), follow_older_attempts],
    "worker": [as_role("worker", work) for work in test_role_worker.CHORES],
}


def is_missed(roles: Roles, deeds: list[Callable[[Roles], None]], told: Any) -> bool:
    """Whether one of these can't be done."""
    for deed in deeds:
        told.clear()
        roles.execute(EMPTY)
        try:
            deed(roles)
        except AssertionError:
            # What fails beside an attempt, such as its statistics, raises nothing.
            return True
        except (ProgrammingError, CommandError, NotReady) as error:
            if "permission denied" not in str(error):
                raise
            return True
        if any("permission denied" in record.getMessage() for record in told.records):
            return True
    return False


@pytest.mark.parametrize("kind", DEEDS)
def test_each_right_is_needed(database, roles, kind, caplog, settings):
    given = {"SCHEDULES": {"each second": test_role_worker.TICKING}, "DATABASE": database}
    settings.ASYNC_ATTEMPTS = settings.ASYNC_ATTEMPTS | given
    assert not is_missed(roles, DEEDS[kind], caplog)
    needless = []
    for right in rights_of(roles, kind):
        roles.execute(f'REVOKE {right.sql} FROM "{roles.name(kind)}"')
        if not is_missed(roles, DEEDS[kind], caplog):
            needless.append(right.sql)
        roles.execute(f'GRANT {right.sql} TO "{roles.name(kind)}"')
    assert needless == [], needless

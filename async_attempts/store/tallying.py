"""Add up what executions came to, minute by minute; and forget it after a while.

One statement adds to the rows that are there and makes the others. Rows are sorted by their key,
so that two workers lock them in the same order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain, islice
from typing import Any, Final, NamedTuple

from ..models import DatabaseNow, Tally
from ..models.tally import KEY, NUMBERS, TARGET_LENGTH
from .rows import Rows, seconds_from_now

ROWS_IN_A_STATEMENT: Final = 200
FORGOTTEN_AT_A_TIME: Final = 5000

ADDED: Final = "{name} = {table}.{name} + excluded.{name}"
ON_CONFLICT: Final = {
    "postgresql": ("ON CONFLICT ({key}) DO UPDATE SET", ADDED),
    "mysql": ("ON DUPLICATE KEY UPDATE", "{name} = {name} + VALUES({name})"),
    "sqlite": ("ON CONFLICT ({key}) DO UPDATE SET", ADDED),
}
"""MariaDB doesn't know the alias that MySQL has in place of `VALUES()`."""

MINUTE: Final = {
    "postgresql": "date_trunc('minute', STATEMENT_TIMESTAMP())",
    "mysql": "DATE_FORMAT(UTC_TIMESTAMP(), '%%Y-%%m-%%d %%H:%%i:00')",
    "sqlite": "strftime('%%Y-%%m-%%d %%H:%%M:00', {now})",
}


class Tallied(NamedTuple):
    """What is counted apart. `target`: the whole name, with its method."""

    queue: str
    target: str
    outcome: str


class Tallying(Rows):
    """The tallies of one database."""

    def add_tallies(self, counted: Mapping[Tallied, Sequence[float]]) -> None:
        """Add to this minute's tallies, all or none: the `NUMBERS` of each."""
        if counted:
            rows = sorted(_cut(counted).items())
            self.whole(lambda: self._add(rows))

    def _add(self, rows: Sequence[tuple[Tallied, Sequence[float]]]) -> None:
        now, moment = DatabaseNow().on(self.connection.vendor)
        minute = MINUTE[self.connection.vendor].format(now=now)
        places = f"({', '.join([minute, *['%s'] * (len(KEY) - 1 + len(NUMBERS))])})"
        head, tail = self._adding
        with self.connection.cursor() as cursor:
            for some in _by(ROWS_IN_A_STATEMENT, rows):
                params = chain.from_iterable((*moment, *key, *numbers) for key, numbers in some)
                sql = f"{head} {', '.join([places] * len(some))} {tail}"
                cursor.execute(sql, list(params))

    @cached_property
    def _adding(self) -> tuple[str, str]:
        """The statement before and after its rows."""
        quote = self.connection.ops.quote_name
        table = quote(Tally._meta.db_table)
        conflict, add = ON_CONFLICT[self.connection.vendor]
        sums = ", ".join(add.format(name=quote(name), table=table) for name in NUMBERS)
        key = ", ".join(map(quote, KEY))
        columns = ", ".join(map(quote, (*KEY, *NUMBERS)))
        head = f"INSERT INTO {table} ({columns}) VALUES"
        return head, f"{conflict.format(key=key)} {sums}"

    def forget_tallies(self, age: float) -> int:
        """Delete a few thousand of the tallies older than `age` seconds; returns how many."""
        old = self.tallies.filter(minute__lt=seconds_from_now(-age)).order_by("minute")
        if not old.exists():
            return 0

        def work() -> int:
            locked = old.select_for_update(skip_locked=True)
            ids = list(locked.values_list("pk", flat=True)[:FORGOTTEN_AT_A_TIME])
            self.delete_tallies(ids)
            return len(ids)

        return self.whole(work)

    def delete_tallies(self, ids: Sequence[int]) -> None:
        """Delete these tallies, which are locked, and touch no others."""
        self.tallies.filter(pk__in=ids)._raw_delete(self.alias)


def _cut(counted: Mapping[Tallied, Sequence[float]]) -> dict[Tallied, Sequence[float]]:
    """By keys that fit the columns; those that are alike then are counted together."""
    cut: dict[Tallied, Sequence[float]] = {}
    for key, numbers in counted.items():
        fitting = key._replace(target=key.target[:TARGET_LENGTH])
        before = cut.get(fitting)
        cut[fitting] = [a + b for a, b in zip(before, numbers, strict=True)] if before else numbers
    return cut


def _by(number: int, rows: Sequence[Any]) -> Iterator[Sequence[Any]]:
    left = iter(rows)
    while some := list(islice(left, number)):
        yield some

"""Calls that share a key with others: debounced, throttled, or one live attempt of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from typing import Any
from uuid import UUID

from django.db import transaction

from ..models import AbstractAttempt
from ..targets import OneOf
from .database import Database
from .debounce import Debounce
from .insert import Insert
from .last_attempts import LastAttempts
from .one_of import OneOfKey
from .prerequisites import Prerequisites


class SharedKeys:
    """New attempts with such keys, or the rows that are there in their place."""

    def __init__(self, database: Database, insert: Insert, prerequisites: Prerequisites) -> None:
        self.database = database
        last_attempts = LastAttempts(database, insert)
        self.debounce = Debounce(database, insert, last_attempts)
        self.one_of = OneOfKey(database, insert, last_attempts, prerequisites)

    def write(self, attempt: AbstractAttempt) -> AbstractAttempt:
        """Return the row of a call, prepared as `attempt`, which is left.

        Its `created` is False if the row was there before. Waits for another transaction that has
        called the same key and hasn't ended.
        """

        def work() -> AbstractAttempt:
            # The caller's, without a savepoint; else one of its own.
            is_open = self.database.connection.in_atomic_block
            with nullcontext() if is_open else transaction.atomic(self.database.alias):
                return self._write_within([attempt])[attempt.pk]

        return self.database.retry_on_conflict(work)

    def write_each(self, attempts: Iterable[AbstractAttempt]) -> dict[UUID, AbstractAttempt]:
        """Do as `write`, in the order of the keys, in a transaction that is open.

        Returns the rows by the ids of `attempts`.
        """
        groups: dict[bytes, list[AbstractAttempt]] = {}
        for attempt in attempts:
            if attempt.shared_key is not None:
                groups.setdefault(attempt.shared_key.digest, []).append(attempt)
        found: dict[UUID, AbstractAttempt] = {}
        for _, group in sorted(groups.items()):
            found |= self._write_within(group)
        return found

    def _write_within(self, group: Sequence[AbstractAttempt]) -> dict[UUID, AbstractAttempt]:
        """Write what calls of one key become."""
        key: Any = group[0].shared_key
        way = self.one_of if isinstance(key.options, OneOf) else self.debounce
        return way.write_within(group)

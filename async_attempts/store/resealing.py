"""Re-encrypt what older keys sealed, batch by batch, while the workers go on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.db.models import QuerySet

from ..conf import realm_of
from ..encryption import (
    Context,
    KeyedCipher,
    KeyState,
    NullCipher,
    cipher,
    key_id_of,
    may_be_unbound,
    open_sealed,
    seal,
)
from ..exceptions import DecryptionError, InvalidSetting, Tampered, UnknownKey
from ..lifecycle import Status
from ..models import DatabaseNow, is_unsealed
from ..models.dependency import Prerequisite, digest_of
from ..models.schedule import BOUND
from ..payload import bind, is_bound
from .base import Store
from .missing import REASONS, TELLS, UNNAMED
from .plaintext import DECIDING_COLUMNS, Plaintext

SEALED_COLUMNS: Final = (("args", "args"), ("sealed_result", "result"))
COLUMNS: Final = (
    *"id target_pk idempotence_token args sealed_result reason".split(),
    *DECIDING_COLUMNS,
)
TRIES: Final = 3
"""How often a value is read again that somebody else changed meanwhile."""


class Unreadable(NamedTuple):
    """A value that can't be opened: the id of the key that it names, and where it is."""

    key_id: str
    where: str


class Value(NamedTuple):
    """A sealed value: its column of a row of `rows`, its context, and what it is called.

    `takes_plain`: whether it is to be sealed if NullCipher stored it.
    """

    rows: QuerySet[Any]
    row: Any
    column: str
    context: Context
    where: str
    takes_plain: bool


@dataclass
class Resealed:
    """One batch.

    `sealed`: how many values were sealed anew, by the id of the key that they had been sealed with.
    `unreadable`: those that can't be opened. `changed`: how many values were changed by others at
    each try, and aren't sealed anew. `after`: the id to go on after; None at the end.
    """

    sealed: Counter[str] = field(default_factory=Counter)
    unreadable: list[Unreadable] = field(default_factory=list)
    changed: int = 0
    after: UUID | None = None


class Resealer:
    """From the old keys, and the retired ones, to the first one.

    `plaintext`: which of the values that NullCipher had stored, too; None: none of them.
    `from_realm`: the realm that `REALM` was before, to seal for the present one what was sealed for
    that. Raises InvalidSetting when the configured cipher isn't a KeyedCipher: it has no key to
    rotate to.
    """

    def __init__(
        self, store: Store, *, plaintext: Plaintext | None = None, from_realm: str | None = None
    ) -> None:
        configured = cipher()
        if not isinstance(configured, KeyedCipher):
            raise InvalidSetting(f"{type(configured).__name__} has no keys that could be rotated.")
        self.store = store
        self.cipher = configured.with_retired_keys()
        self.plaintext = plaintext
        self.realm = realm_of(store.alias)
        self.from_realm = from_realm
        self.state_of: Callable[[str], KeyState] = configured.state_of

    @property
    def former_keys(self) -> list[str]:
        """The ids of the keys that are to go: all of the settings but the first."""
        return [one for one in self.cipher.key_ids if self.state_of(one) is not KeyState.FIRST]

    def reseal(self, after: UUID | None = None, limit: int = 200) -> Resealed:
        """Look at `limit` attempts after the id `after` and at their failures.

        It can be run again at any time: what the first key sealed is passed over. Raises
        CipherUnavailable, and nothing of the batch is changed.
        """

        def work() -> Resealed:
            found = Resealed()
            attempts = self.store.attempts
            rows = attempts.all() if after is None else attempts.filter(pk__gt=after)
            batch = list(rows.order_by("pk").only(*COLUMNS)[:limit])
            for value in self._values_of(batch):
                self._reseal(found, value)
            found.after = batch[-1].pk if len(batch) == limit else None
            return found

        return self.store.whole(work)

    def reseal_schedules(self) -> Resealed:
        """Look at all schedules, of which there are few."""
        schedules = self.store.schedules

        def work() -> Resealed:
            found, plain = Resealed(), self.plaintext
            for row in schedules.order_by("pk").only("id", *BOUND, "args"):
                where = f"schedule {row.pk}: args"
                takes_plain = bool(plain and plain.takes_schedule(row))
                value = Value(schedules, row, "args", row.context(), where, takes_plain)
                self._reseal(found, value)
            return found

        return self.store.whole(work)

    def _values_of(self, batch: Sequence[Any]) -> Iterator[Value]:
        """What is sealed of these attempts and of their failures."""
        attempts, failures = self.store.attempts, self.store.failures
        by_id = {attempt.pk: attempt for attempt in batch}
        plain = self.plaintext
        taken = {pk for pk, row in by_id.items() if plain and plain.takes(row)}
        for attempt in batch:
            for column, purpose in SEALED_COLUMNS:
                where = f"attempt {attempt.pk}: {purpose}"
                context = attempt.context(purpose)
                yield Value(attempts, attempt, column, context, where, attempt.pk in taken)
        for failure in failures.filter(attempt_id__in=by_id).order_by("pk"):
            if not is_unsealed(failure.details):
                attempt = by_id[failure.attempt_id]
                where = f"attempt {attempt.pk}: failure {failure.number}"
                context = attempt.context("error", failure.number)
                yield Value(failures, failure, "details", context, where, attempt.pk in taken)

    def _reseal(self, found: Resealed, value: Value) -> None:
        row, column = value.row, value.column
        mine = value.rows.filter(pk=row.pk)
        stored = getattr(row, column)
        for _ in range(TRIES):
            is_current = bool(stored) and self.cipher.is_sealed_with_current_key(stored)
            if not stored or (is_current and self.from_realm is None):
                return
            key_id = key_id_of(stored) or UNNAMED
            try:
                plaintext, realm = self._opened(stored, value)
            except DecryptionError:
                found.unreadable.append(Unreadable(key_id, value.where))
                return
            if is_current and realm == self.realm:
                return
            if column == "args" and may_be_unbound(stored):
                plaintext = self._bound(row.pk, plaintext)
            context = value.context._replace(realm=self.realm)
            sealed = seal(plaintext, context, self.cipher)
            if mine.filter(**{column: stored}).update(**{column: sealed}):
                found.sealed[key_id] += 1
                if column == "args" and _waits_for_a_key(row):
                    self._let_come_at_once(row)
                return
            stored = mine.values_list(column, flat=True).first()
        found.changed += 1

    def _bound(self, attempt_id: UUID, plaintext: bytes) -> bytes:
        """The arguments, bound to the prerequisites that older releases left to the table."""
        found = self.store.waited_for_by(attempt_id)
        if not found or is_bound(plaintext):
            return plaintext
        return bind(plaintext, digest_of(Prerequisite(*one[:4]) for one in found))

    def _let_come_at_once(self, attempt: Any) -> None:
        """Workers have its key now, and it may have been put off for an hour."""
        waiting = self.store.attempts.filter(TELLS, pk=attempt.pk, status=Status.SCHEDULED)
        waiting.update(scheduled_at=DatabaseNow(), reason="")

    def _opened(self, stored: bytes, value: Value) -> tuple[bytes, str]:
        """The plaintext, and the realm that it was sealed for."""
        context = value.context._replace(realm=self.realm)
        try:
            return open_sealed(stored, context, self.cipher), self.realm
        except UnknownKey:
            if not value.takes_plain:
                raise
            return NullCipher().decrypt(stored, context), self.realm
        except Tampered:
            if self.from_realm is None:
                raise
            before = context._replace(realm=self.from_realm)
            return open_sealed(stored, before, self.cipher), self.from_realm


def _waits_for_a_key(row: Any) -> bool:
    """True for an attempt that was put off as a worker lacked its key."""
    return getattr(row, "status", None) == Status.SCHEDULED and row.reason.startswith(REASONS)

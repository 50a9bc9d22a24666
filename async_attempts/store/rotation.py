"""Re-encrypt what older keys sealed, batch by batch, while the workers go on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.db.models import BooleanField, ExpressionWrapper, QuerySet

from ..batches import STATEMENT_BYTES, by_size
from ..conf import realm_of
from ..encryption import (
    Context,
    KeyedCipher,
    KeyState,
    NullCipher,
    Purpose,
    cipher,
    is_ours,
    key_id_of,
    may_be_unbound,
    open_sealed,
    seal,
)
from ..exceptions import DecryptionError, InvalidSetting, Tampered, UnknownKey
from ..models import AbstractAttempt, DatabaseNow, is_unsealed
from ..models.dependency import Prerequisite, digest_of
from ..models.fields import Mark, marked
from ..models.large_values import Octets, size_of_unfetched
from ..models.schedule import BOUND, BOUND_IF_SET
from ..payload import bind, is_bound
from .missing_keys import UNNAMED, WAITS
from .plaintext import DECIDING_COLUMNS, Plaintext
from .store import Store

SEALED_COLUMNS: Final[Mapping[str, Purpose]] = {"args": "args", "sealed_result": "result"}
"""The sealed columns of an attempt, each with its purpose."""

COLUMNS: Final = (*marked(AbstractAttempt, Mark.BOUND), *DECIDING_COLUMNS)
BYTES_AT_ONCE: Final = STATEMENT_BYTES
TRIES: Final = 3
"""The most readings of a value that others change meanwhile."""


class Unreadable(NamedTuple):
    """A value that can't be opened: the id of the key that it names, and where it is.

    `size`: the bytes of one that is too large to be fetched.
    """

    key_id: str
    where: str
    size: int | None = None


class Value(NamedTuple):
    """A sealed value: its column of a row of `rows`, its bytes, its context, what it is called.

    `stored`: what stands in for it, if it is too large to be fetched.
    `takes_plain`: True if it is to be sealed though NullCipher stored it.
    """

    rows: QuerySet[Any]
    row: Any
    column: str
    stored: Any
    context: Context
    where: str
    takes_plain: bool


@dataclass
class Resealed:
    """One batch.

    `sealed`: how many values were sealed again, by the id of the key that had sealed them before.
    `unreadable`: values that can't be opened. `changed`: how many values were changed by others at
    each try, and aren't sealed again. `after`: the id to go on after; None at the end.
    """

    sealed: Counter[str] = field(default_factory=Counter)
    unreadable: list[Unreadable] = field(default_factory=list)
    changed: int = 0
    after: UUID | None = None


class Resealer:
    """Seals again, with the first key, what the old and the retired ones sealed.

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
        self.realm = realm_of(store.database.alias)
        self.from_realm = from_realm
        self.state_of: Callable[[str], KeyState] = configured.state_of

    @property
    def former_keys(self) -> list[str]:
        """The ids of the keys that are to go: all of the settings but the first."""
        return [one for one in self.cipher.key_ids if self.state_of(one) is not KeyState.FIRST]

    @property
    def reads_headers(self) -> bool:
        """True if the first bytes of a value name its key; a project's own cipher may differ."""
        return is_ours(self.cipher)

    def reseal(self, after: UUID | None = None, limit: int = 200) -> Resealed:
        """Look at `limit` attempts after the id `after` and at their failures.

        It can be run again at any time: what the first key sealed is passed over. Raises
        CipherUnavailable, and nothing of the batch is changed.
        """

        def work() -> Resealed:
            found = Resealed()
            attempts = self.store.database.attempts
            rows = attempts.all() if after is None else attempts.filter(pk__gt=after)
            # The reason isn't read: anything may stand there.
            rows = rows.annotate(waits_for_a_key=ExpressionWrapper(WAITS, BooleanField()))
            batch = list(_measured(rows.only(*COLUMNS), *SEALED_COLUMNS)[:limit])
            for value in chain(self._values_of(batch), self._failures_of(batch, limit)):
                self._reseal(found, value)
            found.after = batch[-1].pk if len(batch) == limit else None
            return found

        return self.store.database.in_transaction(work)

    def reseal_schedules(self) -> Resealed:
        """Look at all schedules, of which there are few."""
        schedules = self.store.database.schedules

        def work() -> Resealed:
            found, plain = Resealed(), self.plaintext
            rows = list(_measured(schedules.only("id", *BOUND, *BOUND_IF_SET), "args"))
            for row, [stored] in _fetched(schedules, rows, "args"):
                where = f"schedule {row.pk}: args"
                takes_plain = bool(plain and plain.takes_schedule(row))
                value = Value(schedules, row, "args", stored, row.context(), where, takes_plain)
                self._reseal(found, value)
            return found

        return self.store.database.in_transaction(work)

    def _values_of(self, batch: Sequence[Any]) -> Iterator[Value]:
        """The sealed values of these attempts, without their failures."""
        attempts, plain = self.store.database.attempts, self.plaintext
        for attempt, values in _fetched(attempts, batch, *SEALED_COLUMNS):
            is_taken = bool(plain and plain.takes(attempt))
            for (column, purpose), stored in zip(SEALED_COLUMNS.items(), values, strict=True):
                where = f"attempt {attempt.pk}: {purpose}"
                context = attempt.context(purpose)
                yield Value(attempts, attempt, column, stored, context, where, is_taken)

    def _failures_of(self, batch: Sequence[Any], limit: int) -> Iterator[Value]:
        """The sealed values of their failures, any number of them: `limit` at a time."""
        failures, plain = self.store.database.failures, self.plaintext
        by_id = {attempt.pk: attempt for attempt in batch}
        taken = {pk for pk, row in by_id.items() if plain and plain.takes(row)}
        rows = _measured(failures.filter(attempt_id__in=by_id).defer("details"), "details")
        page = list(rows[:limit])
        while page:
            for failure, [stored] in _fetched(failures, page, "details"):
                attempt = by_id[failure.attempt_id]
                where = f"attempt {attempt.pk}: failure {failure.number}"
                context = attempt.context("error", failure.number)
                is_taken = attempt.pk in taken
                yield Value(failures, failure, "details", stored, context, where, is_taken)
            page = list(rows.filter(pk__gt=page[-1].pk)[:limit])

    def _reseal(self, found: Resealed, value: Value) -> None:
        row, column, stored = value.row, value.column, value.stored
        mine = value.rows.filter(pk=row.pk)
        for _ in range(TRIES):
            if (size := size_of_unfetched(stored)) is not None:
                self._note_too_large(found, value, size)
                return
            if not stored or (column == "details" and is_unsealed(stored)):
                return
            is_current = self.cipher.is_sealed_with_current_key(stored)
            if is_current and self.from_realm is None:
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
                if column == "args" and getattr(row, "waits_for_a_key", False):
                    self._let_come_at_once(row)
                return
            stored = mine.values_list(column, flat=True).first()
        found.changed += 1

    def _note_too_large(self, found: Resealed, value: Value, size: int) -> None:
        """Count a value that isn't fetched, by the key that its first bytes name."""
        header = self.store.dialect.read_header(value.rows.filter(pk=value.row.pk), value.column)
        is_first = self.reads_headers and self.cipher.is_sealed_with_current_key(header)
        if is_first and self.from_realm is None:
            return
        key_id = key_id_of(header) or UNNAMED
        found.unreadable.append(Unreadable(key_id, value.where, size))

    def _bound(self, attempt_id: UUID, plaintext: bytes) -> bytes:
        """The arguments, bound to the prerequisites that older releases left to the table."""
        found = self.store.prerequisites.of(attempt_id)
        if not found or is_bound(plaintext):
            return plaintext
        return bind(plaintext, digest_of(Prerequisite(*one[:4]) for one in found))

    def _let_come_at_once(self, attempt: Any) -> None:
        """Make it due: workers have its key now, and it may have been put off for an hour."""
        waiting = self.store.database.attempts.filter(WAITS, pk=attempt.pk)
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


def _measured(rows: QuerySet[Any], *columns: str) -> QuerySet[Any]:
    """The rows in the order of their ids, with the sizes of these columns in their place."""
    sizes = {f"size_of_{column}": Octets(column) for column in columns}
    measured: QuerySet[Any] = rows.order_by("pk").annotate(**sizes)
    return measured


def _fetched(
    rows: QuerySet[Any], measured: Sequence[Any], *columns: str
) -> Iterator[tuple[Any, list[Any]]]:
    """Each of the `measured` rows with these columns, fetched of no more at once than is good."""
    fields: list[Any] = [rows.model._meta.get_field(column) for column in columns]
    limits = [field.most_bytes for field in fields]

    def size_of(row: Any) -> int:
        sizes = [getattr(row, f"size_of_{column}") or 0 for column in columns]
        return sum(size for size, most in zip(sizes, limits, strict=True) if size <= most)

    for some in by_size(measured, size_of, number=len(measured), size=BYTES_AT_ONCE):
        found = rows.filter(pk__in=[row.pk for row in some]).values_list("pk", *columns)
        values = {pk: stored for pk, *stored in found}
        yield from ((row, values[row.pk]) for row in some if row.pk in values)

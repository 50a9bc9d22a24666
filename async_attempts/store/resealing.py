"""Re-encrypt what older keys sealed, batch by batch, while the workers go on."""

from __future__ import annotations

from typing import Any, Final, NamedTuple
from uuid import UUID

from django.db.models import QuerySet

from ..encryption import (
    Context,
    KeyedCipher,
    NullCipher,
    Purpose,
    binds_prerequisites,
    cipher,
    open_sealed,
    seal,
)
from ..exceptions import DecryptionError, InvalidSetting, UnknownKey
from ..models import is_unsealed
from ..models.dependency import Prerequisite, digest_of
from ..models.schedule import BOUND
from ..payload import bind
from .base import Store
from .plaintext import DECIDING_COLUMNS, Plaintext

SEALED_COLUMNS: Final = (("args", "args"), ("sealed_result", "result"))
COLUMNS: Final = (
    *"id target_pk idempotence_token args sealed_result".split(),
    *DECIDING_COLUMNS,
)


class Resealed(NamedTuple):
    """One batch: values sealed anew, values that couldn't be opened, the id to go on after."""

    sealed: int
    unreadable: int
    after: UUID | None


class Resealer:
    """From the old keys to the first one; a value that changes meanwhile is left as it became.

    `plaintext`: which of the values that NullCipher had stored, too; None: none of them. Raises
    InvalidSetting when the configured cipher isn't a KeyedCipher: it has no key to rotate to.
    """

    def __init__(self, store: Store, *, plaintext: Plaintext | None = None) -> None:
        configured = cipher()
        if not isinstance(configured, KeyedCipher):
            raise InvalidSetting(f"{type(configured).__name__} has no keys that could be rotated.")
        self.store = store
        self.cipher = configured.with_retired_keys()
        self.plaintext = plaintext

    def reseal(self, after: UUID | None = None, limit: int = 200) -> Resealed:
        """Look at `limit` attempts after the id `after` and at their failures.

        It can be run again at any time: what the first key sealed is passed over. Raises
        CipherUnavailable, and nothing of the batch is changed.
        """

        def work() -> Resealed:
            attempts, failures = self.store.attempts, self.store.failures
            rows = attempts.all() if after is None else attempts.filter(pk__gt=after)
            batch = list(rows.order_by("pk").only(*COLUMNS)[:limit])
            by_id = {attempt.pk: attempt for attempt in batch}
            plain = self.plaintext
            taken = {pk for pk, row in by_id.items() if plain and plain.takes(row)}
            done = [
                self._reseal(
                    attempts, attempt, column, attempt.context(purpose), attempt.pk in taken
                )
                for attempt in batch
                for column, purpose in SEALED_COLUMNS
            ]
            for failure in failures.filter(attempt_id__in=by_id).order_by("pk"):
                if is_unsealed(failure.details):
                    continue
                attempt = by_id[failure.attempt_id]
                context = attempt.context("error", failure.number)
                done.append(
                    self._reseal(failures, failure, "details", context, attempt.pk in taken)
                )
            last = batch[-1].pk if len(batch) == limit else None
            return Resealed(done.count(True), done.count(None), last)

        return self.store.whole(work)

    def reseal_schedules(self) -> Resealed:
        """Look at all schedules, of which there are few."""
        schedules = self.store.schedules

        def work() -> Resealed:
            rows = list(schedules.order_by("pk").only("id", *BOUND, "args"))
            plain = self.plaintext
            done = [
                self._reseal(
                    schedules, row, "args", row.context(), bool(plain and plain.takes_schedule(row))
                )
                for row in rows
            ]
            return Resealed(done.count(True), done.count(None), None)

        return self.store.whole(work)

    def _reseal(
        self, rows: QuerySet[Any], row: Any, column: str, context: Context, takes_plain: bool
    ) -> bool | None:
        """True: sealed anew. False: nothing to do. None: it can't be opened."""
        stored = getattr(row, column)
        if not stored or self.cipher.is_sealed_with_current_key(stored):
            return False
        try:
            plaintext = self._opened(stored, context, takes_plain)
        except DecryptionError:
            return None
        plaintext = self._bound(row.pk, stored, context.purpose, plaintext)
        sealed = seal(plaintext, context, self.cipher)
        return rows.filter(pk=row.pk, **{column: stored}).update(**{column: sealed}) == 1

    def _bound(self, key: UUID, stored: bytes, purpose: Purpose, plaintext: bytes) -> bytes:
        """The plaintext; of arguments of version 1, with the prerequisites that there are now."""
        if purpose != "args" or binds_prerequisites(stored):
            return plaintext
        waited_for = self.store.waited_for_by(key)
        if not waited_for:
            return plaintext
        return bind(plaintext, digest_of(Prerequisite(*one[:4]) for one in waited_for))

    def _opened(self, stored: bytes, context: Context, takes_plain: bool) -> bytes:
        try:
            return open_sealed(stored, context, self.cipher)
        except UnknownKey:
            if not takes_plain:
                raise
            return NullCipher().decrypt(stored, context)

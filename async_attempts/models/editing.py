"""What `save()` may change in a row that exists: how it is performed, never what was promised."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from functools import cache
from operator import itemgetter
from typing import Any, Final, Self

from django.db import models
from django.db.models.signals import post_save, pre_save

from ..exceptions import DuplicateAttempt, InvalidOption, InvalidTransition
from . import ports
from .database import database_of
from .promise import PromiseRow

EDITABLE: Final = frozenset(
    "queue priority max_attempts timeout expires_at metadata subject_type subject_id".split()
)
PROMISE: Final = frozenset(
    "id target target_pk method_name args idempotence_token unique_key schedule created_at".split()
)
STATE: Final = frozenset(
    "status reason num_attempts num_crashes claim_seq claimed_by cancel_requested scheduled_at "
    "started_at completed_at keep_result sealed_result error_class progress progress_note blockers "
    "has_dependents limit_key concurrency".split()
)

BESIDE_COLUMNS: Final = (
    "_state _plain _loaded _prefetched_objects_cache edges is_prerequisite "
    "keeps_for_others pacing debounce_key".split()
)

OPTIONS: Final = frozenset({"scheduled_at", "keep_result", "limit_key", "concurrency"})
"""State that the caller chooses at the beginning."""


class Alike:
    """What the database holds of a row that was written with many others like it."""

    __slots__ = ("args", "columns", "id")

    def __init__(self, columns: Mapping[str, Any], key: Any, args: Any) -> None:
        self.columns = columns
        self.id = key
        self.args = args

    def whole(self) -> dict[str, Any]:
        """By column, as it is remembered of other rows."""
        return {**self.columns, "id": self.id, "args": self.args}


class GuardedRow(PromiseRow):
    """A row that a stale copy can neither reopen nor rewrite."""

    class Meta:
        abstract = True

    _loaded: dict[str, Any] | Alike
    created = False
    """True on the object that was enqueued; False for a row that was there already."""

    @classmethod
    def from_db(
        cls, db: str | None, field_names: Collection[str], values: Collection[Any], **options: Any
    ) -> Self:
        row = super().from_db(db, field_names, values, **options)
        row._loaded = dict(zip(field_names, values, strict=False))
        return row

    def remember(self, names: Iterable[str] | None = None) -> None:
        """Take the columns, all or those named, as what the database holds."""
        if names is None:
            self._loaded = self.held_columns()
            return
        columns = self._columns(names)
        held = {c: self.__dict__[c] for c in columns if c in self.__dict__}
        self._loaded = self._remembered() | held

    def remember_alike(self, columns: Mapping[str, Any]) -> None:
        """As `remember`, where it is equal in all but its id and its arguments to a row that has
        these columns.
        """
        row = self.__dict__
        row["_loaded"] = Alike(columns, row["id"], row["args"])

    def held_columns(self) -> dict[str, Any]:
        """The columns that aren't deferred, and nothing of what else is in memory."""
        held = self.__dict__.copy()
        # Decrypted arguments are pickled nowhere.
        for name in BESIDE_COLUMNS:
            held.pop(name, None)
        return held

    def _remembered(self) -> dict[str, Any]:
        loaded = self.__dict__.get("_loaded", {})
        return loaded.whole() if isinstance(loaded, Alike) else loaded

    def refresh_from_db(
        self,
        using: str | None = None,
        fields: Iterable[str] | None = None,
        from_queryset: Any = None,
    ) -> None:
        """Read it from where it is written, unless another database is named.

        A replica may not have it yet, and none has what an open transaction wrote.
        """
        names = None if fields is None else list(fields)
        alias = database_of(self)
        if using is None and from_queryset is None:
            using = alias
        super().refresh_from_db(using, names, from_queryset)
        # Verbs go on to where it is written.
        self._state.db = alias
        if names is None:
            self._plain, self._replaced = None, frozenset()
        self.remember(names)

    def _refuse_given_state(self) -> None:
        names, read, beginnings = _beginning(type(self))
        given = read(self.__dict__)
        if given == beginnings:
            return
        for name, value, beginning in zip(names, given, beginnings, strict=True):
            if value != beginning and not hasattr(value, "resolve_expression"):
                raise InvalidOption(f"{name}: state can't be given; it begins as {beginning!r}.")

    def save(
        self,
        *,
        force_insert: Any = False,
        force_update: bool = False,
        using: str | None = None,
        update_fields: Iterable[str] | None = None,
    ) -> None:
        """Enqueue a new row, or write the columns that may change.

        Those are queue, priority, max_attempts, timeout, expires_at, metadata, subject and the
        columns a project added. Raises InvalidOption for a changed promise, InvalidTransition for
        changed state (there are `expire()`, `fail()`, `retry()`), DuplicateAttempt for a token
        that is taken.
        """
        if self._state.adding:
            if using is not None:
                self._state.db = using
            alias = database_of(self)
            announce(pre_save, self, alias)
            if not ports.store_for(alias).attempts.insert(self):
                raise DuplicateAttempt(
                    f"{self}: an attempt with the idempotence token {self.idempotence_token!r} "
                    "exists; enqueue() returns it instead of raising."
                )
            announce(post_save, self, alias, created=self.created)
            return
        self._refuse_changes()
        self.check_options()
        super().save(
            force_update=force_update,
            using=using or database_of(self),
            update_fields=self._writable(update_fields),
        )

    async def asave(self, **options: Any) -> None:
        """`save`, after which nothing is left to be read from the database."""
        self.loads_defaults = True
        await super().asave(**options)

    def _refuse_changes(self) -> None:
        loaded = self._remembered()
        changed = {
            name
            for name, value in self.__dict__.items()
            if (name in PROMISE or name in STATE) and not (name in loaded and loaded[name] == value)
        }
        if promised := sorted((changed & PROMISE) | ({"method_args"} & self._replaced)):
            raise InvalidOption(
                f"{', '.join(promised)}: what an attempt promises can't change; "
                "expire this one and enqueue another."
            )
        if changed:
            raise InvalidTransition(
                f"{', '.join(sorted(changed))}: state can't be saved; "
                "use expire(), fail(), retry() or request_cancel()."
            )

    def _writable(self, update_fields: Iterable[str] | None) -> list[str]:
        asked = self._columns(update_fields) - PROMISE - STATE
        return sorted(column for column in asked if column in self.__dict__)

    def _columns(self, names: Iterable[str] | None) -> set[str]:
        """The columns with these names, all of them by default; "subject" stands for its two."""
        columns = {n: f.attname for f in self._meta.concrete_fields for n in (f.name, f.attname)}
        if names is None:
            return set(columns.values())
        asked = set(names)
        if "subject" in asked:
            asked = asked - {"subject"} | {"subject_type", "subject_id"}
        if unknown := asked - columns.keys():
            raise ValueError(f"{', '.join(sorted(unknown))}: no such column.")
        return {columns[name] for name in asked}


@cache
def _beginning(
    model: type[models.Model],
) -> tuple[list[str], Callable[[Any], tuple[Any, ...]], tuple[Any, ...]]:
    """The state of an attempt that was never claimed: its columns, what reads them, the values."""
    fields = [f for f in model._meta.concrete_fields if f.name in STATE - OPTIONS]
    names = [field.attname for field in fields]
    return names, itemgetter(*names), tuple(field.get_default() for field in fields)


def announce(signal: Any, row: Any, using: str, **kwargs: Any) -> None:
    """Send one of Django's save signals, if somebody listens."""
    if signal.receivers and signal.has_listeners(type(row)):
        signal.send(
            sender=type(row), instance=row, raw=False, using=using, update_fields=None, **kwargs
        )

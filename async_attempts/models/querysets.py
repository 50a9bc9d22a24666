"""Sets of attempts: finding them, creating them, and people's verbs on them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, Final, Self, TypeVar

from asgiref.sync import sync_to_async
from django.db.models import Manager, Model, QuerySet
from django.db.models.utils import resolve_callables

from ..exceptions import DuplicateAttempt, InvalidOption
from ..lifecycle import FINAL, LIVE, Status
from ..payload import Arguments
from ..plaintext import hides_arguments
from ..targets import KEY_OPTIONS, target_of
from . import ports
from .clock import DatabaseNow
from .ports import Changes
from .row_template import RowTemplate, is_not_overridden, template_of
from .saving import insert_alike
from .unique_keys import key_of_token

_Row_co = TypeVar("_Row_co", bound=Model, covariant=True)
_Method = TypeVar("_Method", bound=Callable[..., Any])

CODE_ONLY: Final = frozenset({"backoff", "atomic", "max_crashes", "on_subject_deleted"})
CALL: Final = frozenset({"target", "method_name", "method_args"})


def writing(method: _Method) -> _Method:
    """Keep templates from calling `method`."""
    method.__dict__["alters_data"] = True
    return method


class AttemptQuerySet(QuerySet[_Row_co]):
    """A queryset whose verbs are one guarded statement for each batch of rows."""

    def pending(self) -> Self:
        """Return the attempts that are due and not yet claimed."""
        return self.filter(status=Status.PENDING, claimed_by=None)

    def running(self) -> Self:
        """Return the attempts that a worker has claimed."""
        return self.filter(status=Status.PENDING, claimed_by__isnull=False)

    def due(self) -> Self:
        """Return the attempts that are due by the database's clock: pending, or still scheduled."""
        live = (Status.PENDING, Status.SCHEDULED)
        return self.filter(status__in=live, claimed_by=None, scheduled_at__lte=DatabaseNow())

    def live(self) -> Self:
        """Return the attempts that haven't ended: scheduled, pending, running or waiting."""
        return self.filter(status__in=LIVE)

    def about(self, *subjects: Model) -> Self:
        """Return the attempts about any of these saved model instances, by an index.

        Raises InvalidOption for anything else.
        """
        return self.filter(subject__in=subjects)

    def latest_ended(self) -> _Row_co | None:
        """Return the attempt that ended last, or None, as `first()` does.

        No index orders attempts by their end: name their subject before, or another small set.
        """
        return self.filter(status__in=FINAL).order_by("-completed_at", "-pk").first()

    @writing
    def expire(self, reason: str = "") -> Changes:
        """Expire the attempts that haven't ended, but for the ones that run atomically just now."""
        return ports.store_for(self.writes_to).changes.expire(self, reason)

    @writing
    def fail(self, reason: str = "") -> Changes:
        """Fail the attempts that haven't ended, but for the ones that run atomically just now."""
        return ports.store_for(self.writes_to).changes.fail(self, reason)

    @writing
    def retry(
        self, at: datetime | None = None, *, spread: timedelta | float | None = None
    ) -> Changes:
        """Make failed and expired attempts due again, now or `at` an aware datetime.

        `spread`: seconds or a timedelta; each becomes due at a random time within it, so that they
        don't all run at once. Raises InvalidOption for a naive `at` and for a negative `spread`.
        """
        return ports.store_for(self.writes_to).changes.retry(self, at, spread)

    @writing
    def reschedule(
        self, at: datetime | timedelta | None = None, *, by: timedelta | None = None
    ) -> Changes:
        """Let what waits be due `at` an aware datetime or a timedelta from now, or move it `by`.

        `by`: a timedelta that is added to the time of each, negative for earlier. What is running
        or has ended is left. Raises InvalidOption unless exactly one is given.
        """
        return ports.store_for(self.writes_to).changes.reschedule(self, at, by)

    @writing
    def request_cancel(self, reason: str = "", *, interrupt: bool = False) -> Changes:
        """Expire the attempts that aren't running, and tell the running ones to stop.

        `interrupt`: their workers raise `AttemptCancelled` in them, within a few seconds.
        """
        changes = ports.store_for(self.writes_to).changes
        return changes.request_cancel(self, reason, interrupt=interrupt)

    @writing
    @hides_arguments
    def create(self, **kwargs: Any) -> Any:
        """Enqueue: write the row in the caller's transaction.

        Takes the columns, `method_args`, `subject`, `database` (an alias), `allow_autocommit` and
        the options of debounce, throttle and `one_of`; a row that was there has `created` False.
        Raises what `async_attempts.enqueue` raises, and DuplicateAttempt for a token that's taken.
        """
        return self._create(kwargs)

    @writing
    @hides_arguments
    async def acreate(self, **kwargs: Any) -> Any:
        """`create`, after which nothing is left to be read from the database."""
        return await sync_to_async(self._create)(kwargs, loads_defaults=True)

    def _create(self, kwargs: dict[str, Any], *, loads_defaults: bool = False) -> Any:
        manager = self._for_database(kwargs)
        if code_only := kwargs.keys() & CODE_ONLY:
            raise InvalidOption(
                f"{', '.join(sorted(code_only))}: belongs on the target's @attemptable, in code."
            )
        if not loads_defaults and (template := self._template_of(kwargs)) is not None:
            arguments = Arguments.of(kwargs.get("method_args", {}))
            return insert_alike(template, arguments, manager.writes_to)
        allow_autocommit = kwargs.pop("allow_autocommit", False)
        key_options = self._key_options(kwargs)
        row: Any = self.model(**kwargs)
        row.allow_autocommit, row.loads_defaults = allow_autocommit, loads_defaults
        if key_options:
            row.key_options = key_options
        row.save(force_insert=True, using=manager.writes_to)
        return row

    @writing
    def bulk_create(  # noqa: PLR0917 - Django's own parameters, in its order
        self,
        objs: Iterable[Any],
        batch_size: int | None = None,
        ignore_conflicts: bool = False,
        update_conflicts: bool = False,
        update_fields: Collection[str] | None = None,
        unique_fields: Collection[str] | None = None,
    ) -> list[Any]:
        """Enqueue all of `objs` (unsaved rows) or none, in statements of `batch_size` rows.

        Raises DuplicateAttempt when one of their tokens is taken, InvalidOption for Django's own
        ways out of a conflict.
        """
        if ignore_conflicts or update_conflicts or update_fields or unique_fields:
            raise InvalidOption(
                "bulk_create: ignore_conflicts, update_conflicts, update_fields and unique_fields "
                "would break what rows promise."
            )
        attempts = list(objs)
        ports.store_for(self.writes_to).attempts.insert_many(attempts, batch_size)
        return attempts

    @writing
    async def abulk_create(  # noqa: PLR0917 - Django's own parameters, in its order
        self,
        objs: Iterable[Any],
        batch_size: int | None = None,
        ignore_conflicts: bool = False,
        update_conflicts: bool = False,
        update_fields: Collection[str] | None = None,
        unique_fields: Collection[str] | None = None,
    ) -> list[Any]:
        """`bulk_create`, after which nothing is left to be read from the database."""
        attempts = list(objs)
        for attempt in attempts:
            attempt.loads_defaults = True
        refused = ignore_conflicts, update_conflicts, update_fields, unique_fields
        return await sync_to_async(self.bulk_create)(attempts, batch_size, *refused)

    @writing
    @hides_arguments
    def get_or_create(
        self, defaults: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> tuple[Any, bool]:
        """Return the attempt with these columns, else a new one; `target` may be any form of it."""
        return self._get_or_create(defaults, kwargs)

    @writing
    @hides_arguments
    async def aget_or_create(
        self, defaults: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> tuple[Any, bool]:
        """`get_or_create`, after which nothing is left to be read from the database."""
        return await sync_to_async(self._get_or_create)(defaults, kwargs, loads_defaults=True)

    update_or_create = hides_arguments(QuerySet.update_or_create)
    aupdate_or_create = hides_arguments(QuerySet.aupdate_or_create)

    def _get_or_create(
        self,
        defaults: Mapping[str, Any] | None,
        kwargs: dict[str, Any],
        *,
        loads_defaults: bool = False,
    ) -> tuple[Any, bool]:
        manager: Any = self._for_database(kwargs)
        manager._for_write = True
        if key_options := self._key_options(kwargs):
            raise InvalidOption(
                f"{', '.join(key_options)}: not for get_or_create, which leaves what is "
                "there; use create()."
            )
        given: dict[str, Any] = {"allow_autocommit": kwargs.pop("allow_autocommit", False)}
        if "depends_on" in kwargs:
            given["depends_on"] = kwargs.pop("depends_on")
        if "target" in kwargs and "target_pk" not in kwargs:
            given |= {"target": kwargs["target"], "method_name": kwargs.get("method_name")}
            name = target_of(given["target"], given["method_name"]).name
            kwargs |= name._asdict()
            if "idempotence_token" in kwargs:
                # Indexed, and exact where a collation takes "A" for "a".
                kwargs["unique_key"] = key_of_token(name, kwargs["idempotence_token"])
        with suppress(manager.model.DoesNotExist):
            return manager.get(**kwargs), False
        if defaults and "target" in defaults:
            # Django calls what is callable among the defaults, and the target is not to be called.
            given = {"target": defaults["target"]} | given
            defaults = {name: value for name, value in defaults.items() if name != "target"}
        # Not Django's own, whose savepoint would hide that another database's block is open.
        columns = manager._extract_model_params(defaults, **kwargs)
        try:
            new = dict(resolve_callables(columns)) | given
            row = manager._create(new, loads_defaults=loads_defaults)
        except DuplicateAttempt:
            with suppress(manager.model.DoesNotExist):
                return manager.get(**kwargs), False
            raise
        # A live attempt of the same key may have taken the new one's place.
        return row, row.created

    def _template_of(self, kwargs: dict[str, Any]) -> RowTemplate | None:
        """Return the template of a row that is given these alone."""
        if (
            "target" not in kwargs
            or not kwargs.keys() <= CALL
            or not is_not_overridden(self.model, "save")
        ):
            return None
        return template_of(self.model, kwargs["target"], kwargs.get("method_name") or None)

    def _key_options(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        """Take the options of debounce, throttle and `one_of` out of `kwargs`."""
        columns = {field.name for field in self.model._meta.get_fields()}
        # A project's own column may be called "key".
        return {n: kwargs.pop(n) for n in KEY_OPTIONS if n in kwargs and n not in columns}

    def _for_database(self, kwargs: dict[str, Any]) -> Self:
        alias = kwargs.pop("database", None)
        return self if alias is None else self.using(alias)

    @property
    def writes_to(self) -> str:
        """The alias that its verbs change rows on: `using(…)`, else what Django's routers say."""
        self._for_write = True
        return self.db


AttemptManager = Manager.from_queryset(AttemptQuerySet, class_name="AttemptManager")

for _name in ("create", "get_or_create", "update_or_create"):
    # Around Django's own method of the manager, which is called with the arguments as well.
    setattr(AttemptManager, _name, hides_arguments(getattr(AttemptManager, _name)))

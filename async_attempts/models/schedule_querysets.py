"""Sets of schedules: those for an object, and what may be done with many at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Self

from django.db.models import Model, QuerySet

from ..exceptions import InvalidOption
from ..instances import label_and_pk
from ..plaintext import hides_arguments
from ..targets import target_of
from . import ports
from .querysets import writing

SEALED: Final = frozenset(
    "name cron every timezone target overlap catch_up until subject_type subject_id code_says "
    "args".split()
)


class ScheduleQuerySet(QuerySet[Any]):
    """A queryset of schedules."""

    def about(self, subject: Model) -> Self:
        """Return the schedules for this object. Raises InvalidOption for one that isn't saved."""
        label, pk = label_and_pk(subject)
        return self.filter(subject_type=label, subject_id=pk)

    @writing
    def pause(self) -> int:
        """Pause these schedules; returns how many weren't paused."""
        return ports.store_for(self._alias).schedules.pause(self._ids())

    @writing
    def resume(self) -> int:
        """Resume these schedules with their next ticks; returns how many were paused."""
        return ports.store_for(self._alias).schedules.resume(self._ids())

    @writing
    def update(self, **columns: Any) -> int:
        """Write columns that no sealed arguments are bound to. Raises InvalidOption for others."""
        if sealed := sorted(SEALED & columns.keys()):
            raise InvalidOption(
                f"{', '.join(sealed)}: a schedule's arguments are sealed for it; change one "
                "schedule after the other: for schedule in …: schedule.update(…)."
            )
        return super().update(**columns)

    @writing
    @hides_arguments
    def bulk_create(self, objs: Iterable[Any], *args: Any, **options: Any) -> list[Any]:
        """Write new schedules, checked and sealed as `create` does."""
        new = list(objs)
        ports.store_for(self._alias).schedules.prepare(new)
        return super().bulk_create(new, *args, **options)

    @writing
    @hides_arguments
    def get_or_create(
        self, defaults: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> tuple[Any, bool]:
        return super().get_or_create(_named(defaults), **kwargs)

    @writing
    @hides_arguments
    def update_or_create(
        self,
        defaults: Mapping[str, Any] | None = None,
        create_defaults: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> tuple[Any, bool]:
        return super().update_or_create(_named(defaults), _named(create_defaults), **kwargs)

    @property
    def _alias(self) -> str:
        self._for_write = True
        return self.db

    def _ids(self) -> list[Any]:
        return list(self.using(self._alias).values_list("pk", flat=True))


def _named(defaults: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return `defaults` with a target's name in its place: Django calls what is callable there."""
    if defaults is None:
        return None
    found = dict(defaults)
    if callable(found.get("target")):
        name = target_of(found["target"], found.pop("method_name", None)).name
        found["target"] = f"{name.target}.{name.method_name}"
    return found

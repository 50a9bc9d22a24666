"""Delete what ended long enough ago, walking the primary key, which is in the order of time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import cached_property
from uuid import UUID

from django.db.models import Q

from ..lifecycle import FINAL
from ..models import DatabaseNow, Failure
from .rows import Rows


class Pruning(Rows):
    """Away with what nobody will ask for."""

    def prune(
        self, keep: Mapping[str, float | None], *, limit: int = 1000, after: UUID | None = None
    ) -> tuple[int, UUID | None]:
        """Look at `limit` attempts after the id `after` and delete those that ended too long ago.

        `keep`: seconds for each final status, None for ever. Returns how many were deleted and the
        id to go on after; None when the walk has reached the end.
        """
        old = Q(pk__in=())
        for status, seconds in keep.items():
            if seconds is not None:
                limit_of_age = DatabaseNow() - timedelta(seconds=seconds)
                old |= Q(status=status, completed_at__lt=limit_of_age)

        def work() -> tuple[int, UUID | None]:
            walk = self.attempts.filter() if after is None else self.attempts.filter(pk__gt=after)
            seen = list(walk.order_by("pk").values_list("pk", flat=True)[:limit])
            over = self.attempts.filter(old, pk__in=seen, status__in=FINAL)
            locked = over.order_by("pk").select_for_update(skip_locked=True)
            ids = list(locked.values_list("pk", flat=True))
            self.failures.filter(attempt_id__in=ids)._raw_delete(self.alias)
            if self._is_referred_to:
                # By Django, which knows what is to follow each foreign key.
                self.attempts.filter(pk__in=ids).delete()
            else:
                self.delete(ids)
            return len(ids), seen[-1] if len(seen) == limit else None

        return self.whole(work)

    def delete(self, ids: Sequence[UUID]) -> None:
        """Delete these attempts, which are locked, and touch no others."""
        self.attempts.filter(pk__in=ids)._raw_delete(self.alias)

    @cached_property
    def _is_referred_to(self) -> bool:
        """Whether a project's own models have foreign keys to attempts."""
        related = {relation.related_model for relation in self.model._meta.related_objects}
        return bool(related - {Failure})

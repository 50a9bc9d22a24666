"""Delete rows of attempts, which are locked, together with what belongs to them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from uuid import UUID

from ..models import Dependency, Failure
from .depending import Depending


class Deleting(Depending):
    """From ended to gone."""

    def delete(self, ids: Sequence[UUID]) -> None:
        """Delete these attempts, which are locked and have no failures, and touch no others."""
        self.attempts.filter(pk__in=ids)._raw_delete(self.alias)

    def delete_failures(self, ids: Sequence[UUID]) -> None:
        """Delete the failures of these attempts."""
        self.failures.filter(attempt_id__in=ids)._raw_delete(self.alias)

    def delete_dependencies(self, ids: Sequence[UUID]) -> None:
        """Delete what says what these attempts waited for."""
        self.dependencies.filter(attempt_id__in=ids)._raw_delete(self.alias)

    @cached_property
    def is_referred_to(self) -> bool:
        """Whether a project's own models have foreign keys to attempts."""
        related = {relation.related_model for relation in self.model._meta.related_objects}
        return bool(related - {Failure, Dependency})

"""Indexes, constraints and storage of tables, also where the database has no partial indexes."""

from __future__ import annotations

from typing import Any, Final

from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.backends.ddl_references import Statement
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState
from django.db.models import CheckConstraint, Index, Model, Q, UniqueConstraint

from ..lifecycle import Status
from ..limits import MOST_AT_ONCE
from .bounds import (
    MAX_METADATA_BYTES,
    MOST_CLAIMS,
    MOST_COUNTED,
    Bounds,
    HasEndOnlyIfFinal,
    HexIds,
    IsHeldOnlyIfDue,
)


class SelectiveIndex(Index):
    """An index over the rows that fulfil `where`.

    MySQL and MariaDB have no partial indexes: there the index covers all rows and leads with the
    columns `lead`. `condition` of Django's own class would make them skip it with W037.
    """

    def __init__(self, *, where: Q, lead: tuple[str, ...] = (), **options: Any) -> None:
        super().__init__(**options)
        self.where = where
        self.lead = tuple(lead)

    def create_sql(
        self,
        model: type[Model],
        schema_editor: BaseDatabaseSchemaEditor,
        using: str = "",
        **kw: Any,
    ) -> Statement:
        fields = tuple(self.deconstruct()[2]["fields"])
        if schema_editor.connection.features.supports_partial_indexes:
            index = Index(fields=fields, name=self.name, condition=self.where)
        else:
            index = Index(fields=(*self.lead, *fields), name=self.name)
        return index.create_sql(model, schema_editor, using, **kw)

    def deconstruct(self) -> tuple[str, Any, dict[str, Any]]:
        path, args, kwargs = super().deconstruct()
        return path, args, kwargs | {"where": self.where, "lead": self.lead}


class UniqueWhereSet(UniqueConstraint):
    """Unique among the rows where the one field isn't null.

    Any number of nulls is allowed everywhere; where there are partial indexes, nulls cost nothing.
    """

    def __init__(self, *, field: str, name: str) -> None:
        super().__init__(fields=(field,), name=name)

    def _here(self, schema_editor: Any) -> UniqueConstraint:
        partial = schema_editor.connection.features.supports_partial_indexes
        condition = Q((f"{self.fields[0]}__isnull", False)) if partial else None
        return UniqueConstraint(fields=self.fields, name=self.name, condition=condition)

    def constraint_sql(self, model: type[Model] | None, schema_editor: Any) -> str:
        return self._here(schema_editor).constraint_sql(model, schema_editor)

    def create_sql(self, model: type[Model] | None, schema_editor: Any) -> Any:
        return self._here(schema_editor).create_sql(model, schema_editor)

    def remove_sql(self, model: type[Model] | None, schema_editor: Any) -> Any:
        return self._here(schema_editor).remove_sql(model, schema_editor)

    def deconstruct(self) -> tuple[str, Any, dict[str, Any]]:
        path = f"{type(self).__module__}.{type(self).__qualname__}"
        return path, (), {"field": self.fields[0], "name": self.name}


class SetFillfactor(Operation):
    """Leave room in each page, so that a claim and a finish are HOT updates.

    For the migration of a model that takes `Attempt`'s place: `SetFillfactor("OrderAttempt")`.
    """

    reduces_to_sql = True
    reversible = True

    def __init__(self, name: str, percent: int = 50) -> None:
        self.name = name
        self.percent = percent

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        """Do nothing: the models' state knows nothing of storage."""

    def database_forwards(
        self, app_label: str, schema_editor: Any, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        self._alter(app_label, schema_editor, to_state, f"SET (fillfactor = {self.percent})")

    def database_backwards(
        self, app_label: str, schema_editor: Any, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        self._alter(app_label, schema_editor, from_state, "RESET (fillfactor)")

    def _alter(self, app_label: str, schema_editor: Any, state: ProjectState, what: str) -> None:
        model = state.apps.get_model(app_label, self.name)
        alias = schema_editor.connection.alias
        is_here = self.allow_migrate_model(alias, model) and not model._meta.swapped
        if schema_editor.connection.vendor == "postgresql" and is_here:
            table = schema_editor.quote_name(model._meta.db_table)
            schema_editor.execute(f"ALTER TABLE {table} {what}")

    def describe(self) -> str:
        return f"Set the fillfactor of {self.name} to {self.percent}%"

    @property
    def migration_name_fragment(self) -> str:
        return f"{self.name.lower()}_fillfactor"


ATTEMPT_INDEXES: Final = (
    SelectiveIndex(
        fields=("queue", "num_crashes", "-priority", "scheduled_at", "id"),
        where=Q(status=Status.PENDING),
        lead=("status",),
        name="aa_%(class)s_claim",
    ),
    SelectiveIndex(
        fields=("scheduled_at", "id"),
        where=Q(status=Status.SCHEDULED),
        lead=("status",),
        name="aa_%(class)s_promote",
    ),
    SelectiveIndex(
        fields=("blockers", "limit_key", "-priority", "scheduled_at", "id"),
        where=Q(status=Status.WAITING),
        lead=("status",),
        name="aa_%(class)s_waiting",
    ),
    SelectiveIndex(
        fields=("completed_at",),
        where=Q(status__in=(Status.FAILED, Status.EXPIRED)),
        lead=("status",),
        name="aa_%(class)s_triage",
    ),
    SelectiveIndex(
        fields=("expires_at",),
        where=Q(expires_at__isnull=False, completed_at__isnull=True),
        lead=("completed_at",),
        name="aa_%(class)s_expires",
    ),
    SelectiveIndex(
        fields=("subject_type", "subject_id"),
        where=Q(subject_type__isnull=False),
        name="aa_%(class)s_subject",
    ),
)
"""The indexes of the table of attempts: but for the last two they serve one state each."""

ATTEMPT_CONSTRAINTS: Final = (
    UniqueWhereSet(field="unique_key", name="aa_%(class)s_unique_key"),
    CheckConstraint(
        name="aa_%(class)s_completed_at", condition=HasEndOnlyIfFinal("status", "completed_at")
    ),
    CheckConstraint(
        name="aa_%(class)s_claimed_by", condition=IsHeldOnlyIfDue("status", "claimed_by")
    ),
    CheckConstraint(
        name="aa_%(class)s_blockers", condition=Q(blockers=0) | Q(status=Status.WAITING)
    ),
    Bounds(
        name="aa_%(class)s_bounds",
        moments=("scheduled_at", "expires_at", "created_at", "started_at", "completed_at"),
        durations=("timeout",),
        numbers={
            "num_attempts": (0, MOST_COUNTED),
            "max_attempts": (0, MOST_COUNTED),
            "num_crashes": (0, MOST_COUNTED),
            "claim_seq": (0, MOST_CLAIMS),
            "num_snoozes": (0, MOST_COUNTED),
            "blockers": (0, MOST_COUNTED),
            "concurrency": (1, MOST_AT_ONCE),
        },
        sizes={"metadata": MAX_METADATA_BYTES},
    ),
    HexIds(name="aa_%(class)s_ids", ids=("id", "claimed_by")),
)

"""Storage of the table of attempts on PostgreSQL."""

from __future__ import annotations

from typing import Any

from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState


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
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        self._alter(app_label, schema_editor, to_state, f"SET (fillfactor = {self.percent})")

    def database_backwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
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

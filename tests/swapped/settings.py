"""The tests' settings, but for the attempt model and where its migrations are written."""

from __future__ import annotations

from tests import settings as shared

globals().update({name: value for name, value in vars(shared).items() if name.isupper()})

INSTALLED_APPS = ["tests.swapped", *shared.INSTALLED_APPS]
MIGRATION_MODULES = {**shared.MIGRATION_MODULES, "swapped": "swapped_migrations"}
ASYNC_ATTEMPTS_ATTEMPT_MODEL = "swapped.OrderAttempt"
ALLOWED_HOSTS = ["testserver"]

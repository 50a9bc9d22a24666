"""The Django app: bindings, discovery and checks when the project starts."""

from __future__ import annotations

from importlib import import_module

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules
from django.utils.translation import gettext_lazy as _


class AsyncAttemptsConfig(AppConfig):
    """The app; it imports each installed app's modules `attempts` and `listeners`."""

    name = "async_attempts"
    verbose_name = _("async attempts")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        for registering_itself in ("checks", "log"):
            import_module(f"{self.name}.{registering_itself}")
        from . import results
        from .models import ports
        from .store import store_for
        from .subjects import deletions
        from .worker.processes.perform_now import perform_now

        ports.bind(store_for=store_for, perform=perform_now, waiting=results)
        autodiscover_modules("attempts", "listeners")
        deletions.connect()

"""The settings of the benchmarks and of the workers that they start."""

from __future__ import annotations

import os

from tests.databases import from_environment

from .environment import NOTIFY, PEERS, SEALED_FOR
from .peers import settings as peers

SECRET_KEY = "only for benchmarks"  # noqa: S105 - it guards nothing
USE_TZ = True
TIME_ZONE = "UTC"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["async_attempts", "benchmarks"]

DATABASES = from_environment()
# SQLite's own durability (synchronous FULL), as the servers are measured with theirs.
DATABASES["default"]["OPTIONS"]["init_command"] = "PRAGMA journal_mode=WAL"
DATABASE_ROUTERS = ["benchmarks.routing.Router"]

ASYNC_ATTEMPTS = {
    "KEYS": ["AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="],
    "NOTIFY": bool(os.environ.get(NOTIFY, "1")),
}

FOR_RECIPIENTS = {
    "CIPHER": "async_attempts.encryption.RecipientCipher",
    "RECIPIENTS": ["j0DFrbaPJWJK5bIU6nZ6bslNgp09e14a0bpvPiE4KF8="],
    "PRIVATE_KEYS": ["AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="],
}
if os.environ.get(SEALED_FOR):
    ASYNC_ATTEMPTS |= FOR_RECIPIENTS

if os.environ.get(PEERS):
    INSTALLED_APPS += peers.apps()
    TASKS = peers.tasks()
    PROCRASTINATE_DATABASE_ALIAS = peers.ALIAS
    PROCRASTINATE_IMPORT_PATHS = ["benchmarks.peers.procrastinate"]
    PROCRASTINATE_AUTODISCOVER_MODULE_NAME = ""

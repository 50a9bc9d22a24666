"""Checks of the settings, the keys, the model and the databases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from django.apps import apps
from django.conf import settings as django_settings
from django.core.checks import CheckMessage, Error, Tags, register
from django.core.checks import Warning as Notice
from django.db import DatabaseError, connections, router, transaction

from ..conf import IDLE_QUEUE_OPTIONS, SETTING, realm_of, settings
from ..encryption import (
    NO_KEY,
    AESGCMSIVCipher,
    KeyedCipher,
    KeyState,
    cipher,
    configuration_problem,
    idle_key_settings,
    is_ours,
    is_readable_by_all,
    uses_derived_key,
)
from ..encryption.keys import REMEDY
from ..exceptions import InvalidSetting
from ..models import AbstractAttempt, get_attempt_model
from ..payload import Arguments
from ..store import store_for
from ..store.dialects.sqlite import needs_immediate
from ..store.missing_keys import is_form
from ..store.notifications import has_password
from ..store.store import driver_problem
from . import targets

TAG: Final = "async_attempts"
SAMPLE: Final = 1000
"""The number of attempts of each status whose keys are read."""

NEED_READ_COMMITTED: Final = frozenset({"mysql", "postgresql"})


@register(TAG)
def check_settings(**kwargs: Any) -> list[CheckMessage]:
    """Check the setting ASYNC_ATTEMPTS, its keys, and the options of targets."""
    try:
        settings()
    except InvalidSetting as error:
        return [Error(str(error), id="async_attempts.E001")]
    return [
        *_keys(),
        *targets.problems(),
        *_time_zone(),
        *_home(),
        *_idle_settings(),
        *_shown_password(),
    ]


def _keys() -> Iterator[CheckMessage]:
    if problem := configuration_problem():
        yield Error(problem, id="async_attempts.E002")
    elif uses_derived_key():
        yield Notice(
            f"{SETTING}['KEYS'] is empty: arguments are encrypted with a key made of SECRET_KEY.",
            hint="Without DEBUG this is an error: changing SECRET_KEY would lose arguments.",
            id="async_attempts.W001",
        )
    elif idle := idle_key_settings():
        yield Notice(
            f"{SETTING}: {' and '.join(idle)} have no effect: CIPHER isn't RecipientCipher.",
            hint="Set CIPHER to 'async_attempts.encryption.RecipientCipher', or leave them out.",
            id="async_attempts.W009",
        )

    for name in ("KEYS_FILE", "PRIVATE_KEYS_FILE"):
        path = getattr(settings(), name)
        if path is None or not is_readable_by_all(path):
            continue
        yield Notice(
            f"{SETTING}[{name!r}]: every user of this machine may read {path!r}.",
            hint=f"chmod o-r {path}",
            id="async_attempts.W010",
        )


def _time_zone() -> Iterator[CheckMessage]:
    if not django_settings.USE_TZ:
        yield Error(
            "async_attempts needs USE_TZ = True: the database's clock, in UTC, says what is due.",
            id="async_attempts.E005",
        )


def _home() -> Iterator[CheckMessage]:
    alias = settings().DATABASE
    if alias is not None and alias not in connections:
        yield Error(
            f"{SETTING}['DATABASE'] is {alias!r}, which is not in DATABASES.",
            hint=f"There are {', '.join(connections)}.",
            id="async_attempts.E009",
        )


def _idle_settings() -> Iterator[CheckMessage]:
    for queue, options in settings().QUEUES.items():
        if idle := options.keys() & IDLE_QUEUE_OPTIONS:
            yield Notice(
                f"{SETTING}['QUEUES'][{queue!r}]: {', '.join(sorted(idle))}: no effect in this "
                "version.",
                id="async_attempts.W003",
            )


def _shown_password() -> Iterator[CheckMessage]:
    dsn = settings().LISTEN_DSN
    if dsn is not None and has_password(dsn):
        yield Notice(
            f"{SETTING}['LISTEN_DSN'] holds a password, which Django's error pages and mails show.",
            hint="Leave it out: name host and port, the rest is as in DATABASES.",
            id="async_attempts.W011",
        )


@register(Tags.security, deploy=True)
def check_shown_arguments(**kwargs: Any) -> list[CheckMessage]:
    """Check for schedules' arguments in settings that Django's error pages and mails show."""
    try:
        schedules = settings().SCHEDULES
    except InvalidSetting:
        # `check_settings` says so.
        return []
    return [
        Notice(
            f"{SETTING}['SCHEDULES'][{name!r}]['method_args']: Django's error pages and mails "
            "show it in clear.",
            hint="If it holds a secret, write it as async_attempts.Arguments(…), whose repr has no "
            "values; else silence this check.",
            id="async_attempts.W012",
        )
        for name, options in schedules.items()
        if options.get("method_args") and not isinstance(options["method_args"], Arguments)
    ]


@register(TAG)
def check_model(**kwargs: Any) -> list[CheckMessage]:
    """Check that each attempt model has one table, so that one statement can claim."""
    return [
        Error(
            f"{model._meta.label} inherits from {parent._meta.label}'s table.",
            hint="Inherit from async_attempts.models.AbstractAttempt: one table, no joins.",
            id="async_attempts.E006",
        )
        for model in apps.get_models()
        if issubclass(model, AbstractAttempt)
        for parent, link in model._meta.parents.items()
        if link is not None
    ]


@register(TAG)
def check_databases(databases: Sequence[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """Check the transaction settings of the databases that may have attempts."""
    model = get_attempt_model()
    aliases = [alias for alias in connections if router.allow_migrate_model(alias, model)]
    return [message for alias in aliases for message in _database(alias)]


def _database(alias: str) -> Iterator[CheckMessage]:
    connection = connections[alias]
    options = connection.settings_dict.get("OPTIONS", {})
    if problem := driver_problem(alias, connection.vendor):
        yield Error(problem, id="async_attempts.E010")
    if connection.vendor == "sqlite":
        if str(options.get("transaction_mode", "")).upper() != "IMMEDIATE":
            yield Error(needs_immediate(alias), id="async_attempts.E007")
    elif connection.vendor in NEED_READ_COMMITTED and not _is_read_committed(options):
        yield Notice(
            f"DATABASES[{alias!r}]: run_attempts refuses to start at an isolation level other "
            "than READ COMMITTED.",
            hint="Leave OPTIONS['isolation_level'] out for the worker's process.",
            id="async_attempts.W004",
        )
    if connection.vendor in ("mysql", "sqlite"):
        zone = connection.settings_dict.get("TIME_ZONE")
        if zone not in (None, "UTC"):
            yield Error(
                f"DATABASES[{alias!r}]['TIME_ZONE'] is {zone!r}; the database's clock is read in "
                "UTC.",
                hint="Leave it out, or set it to 'UTC'.",
                id="async_attempts.E008",
            )


@register(Tags.database)
def check_keys(databases: Sequence[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """Check that this process has the keys of stored attempts, on the databases that are named."""
    model = get_attempt_model()
    aliases = [one for one in databases or () if router.allow_migrate_model(one, model)]
    return [message for alias in aliases for message in _missing_keys(alias)]


@register(Tags.database)
def check_realms(databases: Sequence[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """Check that the named databases have realms: a copied row must not be performed twice."""
    try:
        by_realm: dict[str, list[str]] = {}
        for alias in filter(_carries_attempts, databases or ()):
            by_realm.setdefault(realm_of(alias), []).append(alias)
    except InvalidSetting as error:
        return [Error(str(error), id="async_attempts.E001")]
    return [
        Notice(
            f"DATABASES {', '.join(map(repr, aliases))}: each of them carries attempts, and they "
            f"share the realm {realm!r}, so that a row copied from one to another is performed.",
            hint=f"Let {SETTING}['REALM'] be a dict that gives each database a realm of its own.",
            id="async_attempts.W007",
        )
        for realm, aliases in by_realm.items()
        if len(aliases) > 1
    ]


@register(Tags.security, deploy=True)
def check_key_strength(**kwargs: Any) -> list[CheckMessage]:
    """Check that the keys look random."""
    if configuration_problem() or not isinstance(ours := cipher(), AESGCMSIVCipher):
        return []
    weak = [key.weakness for key in ours.keys if key.weakness]
    return [Error(told, hint=REMEDY, id="async_attempts.E014") for told in weak]


@register(Tags.security, deploy=True)
def check_realm_is_set(**kwargs: Any) -> list[CheckMessage]:
    """Check for a REALM, which keeps a copy of production's rows from running in staging."""
    try:
        if settings().REALM != "":
            return []
    except InvalidSetting:
        return []  # `check_settings` says so.
    return [
        Notice(
            f"{SETTING}['REALM'] isn't set: a row copied from another database with the same keys "
            "is performed here.",
            hint="Name the installation, such as 'shop-production'. Attempts that were sealed "
            "before don't open after, so set it before there are any, or when none is waiting.",
            id="async_attempts.W008",
        )
    ]


def _carries_attempts(alias: str) -> bool:
    model = get_attempt_model()
    if not router.allow_migrate_model(alias, model):
        return False
    connection = connections[alias]
    if connection.settings_dict["TEST"].get("MIRROR"):
        return False
    try:
        with connection.cursor() as cursor:
            return model._meta.db_table in connection.introspection.table_names(cursor)
    except DatabaseError:
        # Another check tells if it can't be reached.
        return False


def _missing_keys(alias: str) -> Iterator[CheckMessage]:
    if configuration_problem() or not isinstance(ours := cipher(), KeyedCipher):
        return
    if not is_ours(ours):
        return
    try:
        with transaction.atomic(alias):
            sampled = store_for(alias).missing_keys.sample(SAMPLE)
    except DatabaseError:
        # Others tell if it can't be reached or isn't migrated.
        return
    missing = {key_id: n for key_id, n in sampled.items() if not ours.has_key(key_id)}
    for form in filter(is_form, sorted(missing)):
        yield Notice(
            f"DATABASES[{alias!r}]: at least {missing.pop(form)} attempts that haven't ended are "
            f"stored in {form}, which this release doesn't know.",
            hint="They wait for workers of the release that wrote them.",
            id="async_attempts.W006",
        )
    for key_id, number in sorted(missing.items()):
        is_retired = ours.state_of(key_id) is KeyState.RETIRED
        yield Notice(
            f"DATABASES[{alias!r}]: at least {number} attempts that haven't ended are sealed with "
            f"key {key_id}, which "
            + ("is retired." if is_retired else f"{SETTING}['KEYS'] doesn't have."),
            hint=_hint_for(key_id, is_retired=is_retired),
            id="async_attempts.W006",
        )


def _hint_for(key_id: str, *, is_retired: bool) -> str:
    if key_id == NO_KEY:
        return "They are stored in plain: manage.py attempts rotate-keys --seal-plaintext."
    if is_retired:
        return "They wait until manage.py attempts rotate-keys has sealed them again."
    return (
        "They wait until it has: add the key at the end, and remove it when "
        "manage.py attempts rotate-keys has sealed them again."
    )


def _is_read_committed(options: Mapping[str, Any]) -> bool:
    # psycopg's IsolationLevel numbers them; MySQL's option is text.
    level = options.get("isolation_level")
    name = getattr(level, "name", level)
    return name is None or str(name).replace("_", " ").upper() in ("READ COMMITTED", "2")

"""Deleted subjects: attempts that end with the object that they are about.

Django deletes a model's rows without reading them, unless somebody listens to `post_delete`. So
only those models are listened to whose deletion an author has asked for by `on_subject_deleted`.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from typing import Any, Final

from django.apps import apps
from django.db import connections, router, transaction
from django.db.models import Model
from django.db.models.signals import class_prepared, post_delete

from .batches import in_batches
from .conf import MODEL_SETTING, cached
from .models import AbstractAttempt, get_attempt_model
from .models.subject import labels_of
from .store import store_for
from .targets import known_policy, own_name, policy_of, registered
from .targets.decorator import EXPIRE, ends_with_subject


class SubjectDeletions:
    """Listens to the deletions after which attempts of some target are expired.

    `owners`: the dotted names of the classes and modules that have such a target.
    """

    def __init__(self) -> None:
        self.owners: set[str] = set()
        self.senders: set[type[Model]] = set()

    def connect(self) -> None:
        """Listen for what is decorated so far, and for what will be; needs all models."""
        ends_with_subject.connect(self._on_declared)
        class_prepared.connect(self._on_model)
        for name, policy in registered().items():
            if policy.on_subject_deleted == EXPIRE:
                self._on_declared(name=name)

    def _on_declared(self, *, name: str, **_: Any) -> None:
        self.owners.add(name.rpartition(".")[0])
        self.listen()

    def _on_model(self, sender: type[Model], **_: Any) -> None:
        if self.owners and sender._meta.apps is apps:
            self.listen(sender)

    def listen(self, *new: type[Model]) -> None:
        """Listen to the deletions that the owners' targets ask for, and to no others.

        `new`: models that Django is about to register.
        """
        models = [model for model in (*apps.get_models(), *new) if not _is_ours(model)]
        wanted = {model for owner in self.owners for model in _deleted_for(owner, models)}
        for model in self.senders - wanted:
            post_delete.disconnect(self._on_deleted, sender=model)
        for model in wanted - self.senders:
            post_delete.connect(self._on_deleted, sender=model)
        self.senders = wanted

    def _on_deleted(self, sender: type[Model], instance: Any, using: str, **_: Any) -> None:
        pk = instance._meta.pk.value_to_string(instance)
        reason = f"its subject {sender._meta.label} {pk} was deleted"
        labels = labels_of(sender)
        for alias in _databases(using):
            if alias == using:
                _expire(alias, labels, pk, reason)
            else:
                _expire_when_committed(using, alias, labels, pk, reason)


deletions: Final = SubjectDeletions()


def _deleted_for(owner: str, models: Iterable[type[Model]]) -> list[type[Model]]:
    """Return the models whose rows may be subjects of attempts of an owner's target.

    Of a model's method: those models that have it, and the ones of the same table. Of any other
    function: all.
    """
    tables = {
        model._meta.concrete_model
        for model in models
        if any(own_name(base) == owner for base in model.__mro__)
    }
    return [model for model in models if not tables or model._meta.concrete_model in tables]


def _is_ours(model: type[Model]) -> bool:
    return model._meta.app_label == "async_attempts" or issubclass(model, AbstractAttempt)


def _databases(deleted_on: str) -> Iterator[str]:
    """Yield the databases that may have attempts about a row of this one."""
    home = router.db_for_write(get_attempt_model())
    yield home
    if home != deleted_on and _has_attempts(deleted_on):
        yield deleted_on


@cached("DATABASES", "DATABASE_ROUTERS", MODEL_SETTING)
def _has_attempts(alias: str) -> bool:
    """Return True if there is a table of attempts: a call may name any database."""
    model = get_attempt_model()
    if not router.allow_migrate_model(alias, model):
        return False
    connection = connections[alias]
    with connection.cursor() as cursor:
        return model._meta.db_table in connection.introspection.table_names(cursor)


def _expire(alias: str, labels: Iterable[str], pk: str, reason: str) -> None:
    """Expire the attempts about a deleted row that end with it, and cancel what is running."""
    store = store_for(alias)
    about = store.database.attempts.live().filter(subject_type__in=labels, subject_id=pk)
    found = about.values_list("pk", "target", "method_name")
    for ids in in_batches(key for key, *name in found if _ends_with_subject(*name)):
        store.changes.request_cancel(store.database.attempts.filter(pk__in=ids), reason)


def _expire_when_committed(deleted_on: str, *about: Any) -> None:
    def later() -> None:
        _expire(*about)

    transaction.on_commit(later, deleted_on, robust=True)


def _ends_with_subject(target: str, method_name: str) -> bool:
    """Return what the author of a stored target says; a module isn't imported to know it."""
    policy = known_policy(target, method_name)
    if policy is None:
        models = (model for model in apps.get_models() if own_name(model) == target)
        # It may be inherited, and so be registered by the name of its base.
        policy = policy_of(inspect.getattr_static(next(models, None), method_name, None))
    return policy is not None and policy.on_subject_deleted == EXPIRE

"""What a row promises: the call, its arguments, and the options in force when it is enqueued."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from django.apps import apps
from django.db import models

from ..conf import settings
from ..encryption import Context, cipher
from ..exceptions import InvalidOption, ObjectGone
from ..payload import Arguments, dump_arguments, load_arguments, load_value
from ..targets import check_arguments, load_by_text, method_of, name_of
from .columns import AttemptColumns
from .keys import key_of_token
from .options import as_seconds, check_metadata, check_moment, check_number

DEFAULT_QUEUE: Final = "default"
MOMENTS: Final = ("scheduled_at", "expires_at")


class PromiseRow(AttemptColumns):
    """The call behind a row, and the making of a row that promises one."""

    class Meta:
        abstract = True

    allow_autocommit = False
    """Whether it may be written while only another database's transaction is open."""

    _plain: Arguments | None = None
    _replaced: frozenset[str] = frozenset()

    @property
    def method_args(self) -> Any:
        """The arguments: a dict (keywords), a list (positional) or `Arguments` (both).

        Decrypted when first read. Raises DecryptionError, InvalidArguments, ObjectGone.
        """
        if self._plain is None:
            plaintext = cipher().decrypt(self.args, self.context("args"))
            self._plain = load_arguments(plaintext)
        arguments = self._plain
        if arguments.args and arguments.kwargs:
            return arguments
        return list(arguments.args) if arguments.args else dict(arguments.kwargs)

    @method_args.setter
    def method_args(self, value: Any) -> None:
        if not self._state.adding:
            self._replaced = frozenset({"method_args"})
        self._plain = Arguments.of(value)

    @property
    def stored_result(self) -> Any:
        """What the target returned, None when it wasn't kept; decrypted at each reading."""
        if self.sealed_result is None:
            return None
        return load_value(cipher().decrypt(self.sealed_result, self.context("result")))

    @property
    def subject(self) -> models.Model | None:
        """The business object that this attempt is about; None when there's none any more."""
        if self.subject_type is None or self.subject_id is None:
            return None
        try:
            model = apps.get_model(self.subject_type)
            return load_by_text(model, self.subject_id, self._state.db)
        except (LookupError, ObjectGone):
            return None

    @subject.setter
    def subject(self, instance: Any) -> None:
        if instance is None:
            self.subject_type = self.subject_id = None
            return
        if not isinstance(instance, models.Model) or instance._state.adding or instance.pk is None:
            raise InvalidOption("subject: must be a saved model instance or None.")
        self.subject_type = instance._meta.label_lower
        self.subject_id = instance._meta.pk.value_to_string(instance)

    def context(self, purpose: Any) -> Context:
        """What a ciphertext of this row is bound to."""
        return Context(purpose, self.pk, self.target, self.target_pk, self.method_name)

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        if not self._state.adding:
            state.pop("_plain", None)
        return state

    def seal(self) -> dict[str, float]:
        """Check and fill in every column of a new row, and encrypt the arguments.

        Returns those moments that are given as seconds from the database's now, by column.
        Raises InvalidTarget, InvalidArguments, InvalidOption; the row is not to be written then.
        """
        if self._plain is None and self.args:
            raise InvalidOption("method_args: give a copied row its arguments anew.")
        name = name_of(self.target, self.method_name or None)
        policy = method_of(name.target, name.method_name).policy
        arguments = self._plain or Arguments()
        check_arguments(name, arguments.args, arguments.kwargs)
        self.target, self.target_pk, self.method_name = name
        self.queue = self.queue or policy.queue or DEFAULT_QUEUE
        for column, default in (
            ("priority", policy.priority or 0),
            ("keep_result", bool(policy.keep_result)),
            ("scheduled_at", policy.delay),
            ("expires_at", policy.expires_after),
        ):
            if getattr(self, column) is None:
                setattr(self, column, default)
        relative = {name: as_seconds(name, getattr(self, name)) for name in MOMENTS}
        self.check_options()
        self.unique_key = key_of_token(name, self.idempotence_token)
        self.args = cipher().encrypt(dump_arguments(arguments), self.context("args"))
        self._plain = arguments
        return {moment: after for moment, after in relative.items() if after is not None}

    def check_options(self) -> None:
        """Check the columns that the caller may choose. Raises InvalidOption, naming the column."""
        loaded = self.__dict__
        if "queue" in loaded:
            settings().queue(self.queue)
        if "priority" in loaded:
            self.priority = settings().priority(self.priority)
        for name in MOMENTS:
            if not self._state.adding or as_seconds(name, loaded.get(name)) is None:
                check_moment(name, loaded.get(name))
        if isinstance(timeout := loaded.get("timeout"), timedelta):
            self.timeout = timeout.total_seconds()
        if not isinstance(keep := loaded.get("keep_result", False), bool):
            raise InvalidOption(f"keep_result: must be True or False, not {keep!r}.")
        check_number("timeout", loaded.get("timeout"), "seconds, more than 0")
        check_number("max_attempts", loaded.get("max_attempts"), "1 or more", whole=True)
        check_metadata(loaded.get("metadata", {}))

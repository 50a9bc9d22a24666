"""What a row promises: the call, its arguments, and the options in force when it is enqueued."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Any, Final

from django.apps import apps
from django.db import models
from django.utils.timezone import is_naive

from ..conf import settings
from ..encryption import Context, cipher
from ..exceptions import InvalidOption
from ..payload import Arguments, dump_arguments, load_arguments, load_value
from ..targets import TargetName, check_arguments, method_of, name_of
from .columns import TOKEN_LENGTH, AttemptColumns

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
        if self.result is None:
            return None
        return load_value(cipher().decrypt(self.result, self.context("result")))

    @property
    def subject(self) -> models.Model | None:
        """The business object that this attempt is about; None when there's none any more."""
        if self.subject_type is None:
            return None
        model = apps.get_model(self.subject_type)
        found: models.Model | None = model._base_manager.filter(pk=self.subject_id).first()
        return found

    @subject.setter
    def subject(self, instance: models.Model | None) -> None:
        if instance is not None and getattr(instance, "pk", None) is None:
            raise InvalidOption("subject: must be a saved model instance or None.")
        self.subject_type = instance._meta.label_lower if instance is not None else None
        self.subject_id = str(instance.pk) if instance is not None else None

    def context(self, purpose: Any) -> Context:
        """What a ciphertext of this row is bound to."""
        return Context(purpose, self.pk, self.target, self.target_pk, self.method_name)

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        state.pop("_plain", None)
        return state

    def seal(self) -> dict[str, float]:
        """Check and fill in every column of a new row, and encrypt the arguments.

        Returns those moments that are given as seconds from the database's now, by column.
        Raises InvalidTarget, InvalidArguments, InvalidOption; the row is not to be written then.
        """
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
        relative = {moment: self._relative(moment) for moment in MOMENTS}
        self.check_options()
        self.unique_key = self._key_of_token(name)
        self.args = cipher().encrypt(dump_arguments(arguments), self.context("args"))
        self._plain = arguments
        return {moment: after for moment, after in relative.items() if after is not None}

    def _relative(self, name: str) -> float | None:
        """Seconds from now, for a moment given as such; the column is then the database's."""
        value = getattr(self, name)
        if isinstance(value, timedelta):
            value = value.total_seconds()
        if isinstance(value, int | float) and not isinstance(value, bool):
            setattr(self, name, None)
            return float(value)
        return None

    def check_options(self) -> None:
        """Check the columns that the caller may choose. Raises InvalidOption, naming the column."""
        loaded = self.__dict__
        if "queue" in loaded:
            settings().queue(self.queue)
        if "priority" in loaded:
            self.priority = settings().priority(self.priority)
        for name in MOMENTS:
            check_moment(name, loaded.get(name))
        if isinstance(timeout := loaded.get("timeout"), timedelta):
            self.timeout = timeout.total_seconds()
        _check_number("timeout", loaded.get("timeout"), "seconds, more than 0")
        _check_number("max_attempts", loaded.get("max_attempts"), "1 or more", whole=True)
        _check_token(loaded.get("idempotence_token"))
        _check_metadata(loaded.get("metadata", {}))

    def _key_of_token(self, name: TargetName) -> bytes | None:
        if self.idempotence_token is None:
            return None
        return unique_key("token", *name, self.idempotence_token)


def unique_key(*parts: str | None) -> bytes:
    """Sixteen bytes of BLAKE2b over the length-prefixed parts: equal parts, equal key."""
    digest = blake2b(digest_size=16)
    for part in parts:
        encoded = b"" if part is None else part.encode()
        digest.update((-1 if part is None else len(encoded)).to_bytes(4, signed=True) + encoded)
    return digest.digest()


def check_moment(name: str, value: Any) -> None:
    """Raises InvalidOption unless `value` is None or an aware datetime."""
    if value is None:
        return
    if not isinstance(value, datetime):
        raise InvalidOption(f"{name}: must be an aware datetime, not {type(value).__name__}.")
    if is_naive(value):
        raise InvalidOption(
            f"{name}: the datetime is naive; give it a timezone (django.utils.timezone.now())."
        )


def _check_number(name: str, value: Any, expected: str, *, whole: bool = False) -> None:
    if value is None:
        return
    kinds = int if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not 0 < value < 2**31:
        raise InvalidOption(f"{name}: must be {expected}, not {value!r}.")


def _check_token(token: Any) -> None:
    if token is None:
        return
    if not isinstance(token, str) or not 0 < len(token) <= TOKEN_LENGTH or "\0" in token:
        raise InvalidOption(
            f"idempotence_token: must be a string of 1 to {TOKEN_LENGTH} characters, no NUL."
        )


def _check_metadata(metadata: Any) -> None:
    try:
        if not isinstance(metadata, Mapping):
            raise TypeError(f"is a {type(metadata).__name__}")
        text = json.dumps(metadata, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidOption(f"metadata: must be a dict of plain JSON: {error}.") from None
    if "\\u0000" in text:
        raise InvalidOption("metadata: must not hold NUL characters.")

"""What a row promises: the call, its arguments, and the options in force when it is enqueued."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any, Final

from django.apps import apps
from django.db import models
from django.utils.timezone import is_naive

from ..conf import settings
from ..encryption import Context, cipher
from ..exceptions import InvalidOption, ObjectGone
from ..payload import Arguments, dump_arguments, load_arguments, load_value
from ..targets import TargetName, check_arguments, load_by_text, method_of, name_of
from .columns import TOKEN_LENGTH, AttemptColumns

DEFAULT_QUEUE: Final = "default"
CENTURY: Final = 36_525 * 86_400.0
_UNSTORABLE: Final = re.compile("[\0\ud800-\udfff]")
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
        relative = {name: _seconds(name, getattr(self, name)) for name in MOMENTS}
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
            if not self._state.adding or _seconds(name, loaded.get(name)) is None:
                check_moment(name, loaded.get(name))
        if isinstance(timeout := loaded.get("timeout"), timedelta):
            self.timeout = timeout.total_seconds()
        if not isinstance(keep := loaded.get("keep_result", False), bool):
            raise InvalidOption(f"keep_result: must be True or False, not {keep!r}.")
        _check_number("timeout", loaded.get("timeout"), "seconds, more than 0")
        _check_number("max_attempts", loaded.get("max_attempts"), "1 or more", whole=True)
        _check_metadata(loaded.get("metadata", {}))


def key_of_token(name: TargetName, token: str | None) -> bytes | None:
    """The unique key of an idempotence token. Raises InvalidOption for what can't be one."""
    _check_token(token)
    return None if token is None else unique_key("token", *name, token)


def unique_key(*parts: str | None) -> bytes:
    """Sixteen bytes of BLAKE2b over the length-prefixed parts: equal parts, equal key."""
    digest = blake2b(digest_size=16)
    for part in parts:
        encoded = b"" if part is None else part.encode()
        digest.update((-1 if part is None else len(encoded)).to_bytes(4, signed=True) + encoded)
    return digest.digest()


def _seconds(name: str, value: Any) -> float | None:
    """Seconds from now, for a moment that is given as such."""
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not -CENTURY <= value <= CENTURY:
        raise InvalidOption(f"{name}: must be within a hundred years from now.")
    return float(value)


def check_moment(name: str, value: Any) -> None:
    """Raises InvalidOption unless `value` is None, an aware datetime or a database expression."""
    if value is None or hasattr(value, "resolve_expression"):
        return
    if not isinstance(value, datetime):
        raise InvalidOption(f"{name}: must be an aware datetime, not {type(value).__name__}.")
    if is_naive(value):
        raise InvalidOption(
            f"{name}: the datetime is naive; give it a timezone (django.utils.timezone.now())."
        )
    try:
        value.astimezone(UTC)
    except OverflowError:
        raise InvalidOption(f"{name}: {value} is outside of the years 1 to 9999 in UTC.") from None


def _check_number(name: str, value: Any, expected: str, *, whole: bool = False) -> None:
    if value is None:
        return
    kinds = int if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not 0 < value < 2**31:
        raise InvalidOption(f"{name}: must be {expected}, not {value!r}.")


def _check_token(token: Any) -> None:
    if token is None:
        return
    if (
        not isinstance(token, str)
        or not 0 < len(token) <= TOKEN_LENGTH
        or _UNSTORABLE.search(token)
    ):
        raise InvalidOption(
            f"idempotence_token: must be a string of 1 to {TOKEN_LENGTH} characters, no NUL and no "
            "lone surrogate."
        )


def _check_metadata(metadata: Any) -> None:
    try:
        if not isinstance(metadata, Mapping):
            raise TypeError(f"is a {type(metadata).__name__}")
        text = json.dumps(metadata, allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidOption(f"metadata: must be a dict of plain JSON: {error}.") from None
    if "\\u0000" in text or _UNSTORABLE.search(text):
        raise InvalidOption("metadata: must hold no NUL and no lone surrogate.")

"""What a row promises: the call, its arguments, and the options in force when it is enqueued."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.apps import apps
from django.db import models

from ..conf import settings
from ..encryption import Context, Purpose, cipher, context_of, encrypt_many, open_sealed
from ..exceptions import InvalidArguments, InvalidOption, ObjectGone
from ..instances import load_by_text
from ..lifecycle import Status
from ..payload import Arguments, bind, dump_arguments, load_arguments, load_value
from ..payload.limits import refuse_large
from ..plaintext import Plaintext, hide_values
from ..targets import Policy, Target, limit_of, target_of
from .beginning import Kind, PromptRow, untouched
from .clock import NOW
from .database import database_of
from .debounce import DebounceKey, debounce_key_of
from .dependency import Edge, Prerequisite, as_edges, digest_of, is_new, prerequisites_of
from .sizes import require_fetched, size_of_unfetched
from .unique_keys import key_of_tick, key_of_token
from .validation import as_seconds, check_metadata, check_moment, check_number

DEFAULT_QUEUE: Final = "default"
MOMENTS: Final = ("scheduled_at", "expires_at")


FILLED_IN: Final = (
    "target target_pk method_name queue priority keep_result unique_key limit_key "
    "concurrency".split()
)
DUE_NOW: Final = {
    "status": Status.PENDING,
    "scheduled_at": NOW,
    "created_at": NOW,
    "created": False,
}
"""The beginning of a row of a kind."""


class Promised(NamedTuple):
    """A row of which only the encrypted arguments are missing.

    `plaintext`: the arguments. `relative`: those moments that are given as seconds from the
    database's now, by column. `kind`: the rows it is like, if it was given nothing but a target
    and arguments.
    """

    plaintext: Plaintext
    relative: dict[str, float]
    kind: Kind | None


class Promises(NamedTuple):
    """What is known of many rows together; `kind`, if all of them are of one."""

    plaintexts: Sequence[Plaintext]
    kind: Kind | None


class PromiseRow(PromptRow):
    """The call behind a row, and the making of a row that promises one."""

    class Meta:
        abstract = True

    allow_autocommit = False
    """Whether it may be written while only another database's transaction is open."""

    loads_defaults = False
    """Whether what the database fills in is read at once, not when it is asked for: async code
    can't ask."""

    edges: tuple[Edge, ...] = ()
    """What a new row waits for."""

    is_prerequisite = False
    """Whether a row that is written together with this one waits for it."""

    keeps_for_others = False
    """Whether that one is handed its result, or may ask for it."""

    pacing: Mapping[str, Any] | None = None
    """What the caller says of debounce and throttle, by the names of the options."""

    debounce_key: DebounceKey | None = None
    """What comes of it and of what the target's author said, once it is promised."""

    _plain: Arguments | None = None
    _replaced: frozenset[str] = frozenset()

    @property
    def method_args(self) -> Any:
        """The arguments: a dict (keywords), a list (positional) or `Arguments` (both).

        Decrypted when first read. Raises DecryptionError, CipherUnavailable, InvalidArguments,
        ObjectGone.
        """
        if self._plain is None:
            require_fetched(self.args, str(self.pk), "raise it to read them.")
            plaintext = open_sealed(self.args, self.context("args"))
            self._plain = load_arguments(plaintext)
        arguments = self._plain
        if arguments.args and arguments.kwargs:
            return arguments
        return list(arguments.args) if arguments.args else dict(arguments.kwargs)

    @method_args.setter
    def method_args(self, value: Any) -> None:
        if not self._state.adding:
            self._replaced = frozenset({"method_args"})
        try:
            self._plain = Arguments.of(value)
        except InvalidArguments:
            del value  # An error report would show it.
            raise

    @property
    def depends_on(self) -> Any:
        """What a new row is told to wait for; of a row that exists, see `dependencies`."""
        return self.edges

    @depends_on.setter
    def depends_on(self, value: Any) -> None:
        if not self._state.adding:
            raise InvalidOption("depends_on: can be given only when an attempt is enqueued.")
        self.edges = as_edges(value)

    @property
    def stored_result(self) -> Any:
        """The target's result, None if it wasn't kept; decrypted at each reading.

        Raises as `method_args` does.
        """
        if not self.sealed_result:
            return None
        refuse_large(self.pk, size_of_unfetched(self.sealed_result))
        return load_value(open_sealed(self.sealed_result, self.context("result")))

    @property
    def subject(self) -> models.Model | None:
        """The business object that this attempt is about; None when there's none any more."""
        if self.subject_type is None or self.subject_id is None:
            return None
        try:
            model = apps.get_model(self.subject_type)
            return load_by_text(model, self.subject_id, database_of(self))
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

    def context(self, purpose: Purpose, execution: int | None = None) -> Context:
        """The context of a ciphertext of this row; `execution`: of an error, which one failed."""
        return context_of(purpose, self.id, self, database_of(self), execution)

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        if not self._state.adding:
            for name in ("_plain", "edges"):
                state.pop(name, None)
        return state

    def seal(
        self, plaintext: Plaintext | None = None, prerequisites: Sequence[Prerequisite] = ()
    ) -> None:
        """Encrypt the arguments: `plaintext`, if `promise()` has returned that already.

        `prerequisites`: what they are bound to, if not to what the row was told to wait for.
        """
        if plaintext is None:
            plaintext = self.promise().plaintext
        if self.edges:
            new = {id(p): p for edge in self.edges if is_new(p := edge.prerequisite)}
            bound_to = prerequisites or prerequisites_of(self.edges, new)
            plaintext = bind(plaintext, digest_of(bound_to))
        try:
            self.__dict__["args"] = cipher().encrypt(plaintext, self.context("args"))
        except BaseException as error:
            hide_values(error)
            raise

    def take_place_of(self, key: UUID) -> None:
        """Take the id of a row, and encrypt the arguments, checked before, for that one."""
        self.__dict__["id"] = key
        self.seal_anew()

    def seal_anew(self, prerequisites: Sequence[Prerequisite] = ()) -> None:
        """Encrypt the arguments, checked before, as `seal` does."""
        self.seal(dump_arguments(self._plain or Arguments()), prerequisites)

    def promise(self) -> Promised:
        """Check a new row, and fill in every column but the arguments.

        Raises InvalidTarget, InvalidArguments, InvalidOption; the row is not to be written then.
        """
        row = self.__dict__
        plain = untouched(type(self))
        is_untouched = plain is not None and plain.read(row) == plain.values and self.pacing is None
        is_untouched = is_untouched and not (self.edges or self.is_prerequisite)
        if self._plain is None and self.args:
            if "_loaded" in row:
                raise InvalidOption("method_args: give a copied row its arguments anew.")
            raise InvalidOption(
                "args: is the column of the encrypted arguments; give them as method_args."
            )
        target = target_of(row["target"], row["method_name"] or None)
        arguments = self._plain or Arguments()
        target.signature.check(arguments.args, arguments.kwargs)
        kind: Kind | None = target.kinds.get(type(self)) if is_untouched else None
        relative: dict[str, float] = {}
        if kind is not None:
            row.update(kind.columns)
        else:
            relative = self._fill_in(target)
            moments = row["scheduled_at"], row["expires_at"]
            is_alike = is_untouched and not callable(target.policy.limit_key)
            if is_alike and moments == (None, None) and self.debounce_key is None:
                columns = {column: row[column] for column in FILLED_IN} | DUE_NOW
                kind = Kind(type(self), columns, target.signature)
                row.update(DUE_NOW)
                target.kinds[type(self)] = kind
        row["_plain"] = arguments
        return Promised(dump_arguments(arguments), relative, kind)

    def _fill_in(self, target: Target) -> dict[str, float]:
        row, name, policy = self.__dict__, target.name, target.policy
        self._refuse_given_state()
        row["target"], row["target_pk"], row["method_name"] = name
        row["queue"] = row["queue"] or policy.queue or DEFAULT_QUEUE
        if (this := debounce_key_of(name, policy, self.pacing or {}, row)) is not None:
            self.debounce_key = this
        due = this.pacing.debounce if this else policy.delay
        for column, default in (
            ("priority", policy.priority or 0),
            ("keep_result", self._keeps_result_by(policy)),
            ("scheduled_at", due),
            ("expires_at", policy.expires_after),
        ):
            if row[column] is None:
                row[column] = default
        limits = row["limit_key"], row["concurrency"]
        row["limit_key"], row["concurrency"] = limit_of(
            name, policy, limits, self._plain or Arguments()
        )
        relative = self._relative_moments()
        self.check_options()
        row["unique_key"] = key_of_token(name, row["idempotence_token"])
        tick = row["scheduled_at"]
        if row["schedule"] is not None and isinstance(tick, datetime):
            row["unique_key"] = key_of_tick(row["schedule"], tick)
        return relative

    def _keeps_result_by(self, policy: Policy) -> bool:
        if policy.keep_result is None:
            return self.keeps_for_others
        return policy.keep_result

    def _refuse_given_state(self) -> None:
        """Raises InvalidOption for state that only a worker may give; see `GuardedRow`."""

    def _relative_moments(self) -> dict[str, float]:
        row = self.__dict__
        given = [name for name in MOMENTS if row[name] is not None]
        relative = {name: as_seconds(name, row[name]) for name in given}
        return {moment: after for moment, after in relative.items() if after is not None}

    def check_options(self) -> None:
        """Check the columns that the caller may choose. Raises InvalidOption, naming the column."""
        loaded = self.__dict__
        if "queue" in loaded:
            settings().queue(self.queue)
        if "priority" in loaded:
            self.priority = settings().priority(self.priority)
        for name in MOMENTS:
            if (moment := loaded.get(name)) is not None and not (
                self._state.adding and as_seconds(name, moment) is not None
            ):
                check_moment(name, moment)
        if isinstance(timeout := loaded.get("timeout"), timedelta):
            self.timeout = timeout.total_seconds()
        if not isinstance(keep := loaded.get("keep_result", False), bool):
            raise InvalidOption(f"keep_result: must be True or False, not {keep!r}.")
        check_number("timeout", loaded.get("timeout"), "seconds, more than 0")
        check_number("max_attempts", loaded.get("max_attempts"), "1 or more", whole=True)
        if (metadata := loaded.get("metadata")) != {} and "metadata" in loaded:
            check_metadata(metadata)


def kind_of(model: type[PromiseRow], target: Any) -> Kind | None:
    """The kind of a row that is given nothing but this target and arguments.

    None if it can make no rows, or none was promised yet. Raises InvalidTarget.
    """
    kind: Kind | None = target_of(target).kinds.get(model)
    return kind if kind is not None and kind.makes_rows() else None


def seal_many(rows: Sequence[PromiseRow], promises: Promises) -> None:
    """Encrypt the arguments of each of `rows`, which are promised."""
    plaintexts, kind = promises
    if kind is None:
        for row, plaintext in zip(rows, plaintexts, strict=True):
            row.seal(plaintext)
        return
    ids = [row.id for row in rows]
    try:
        everything = encrypt_many(cipher(), plaintexts, rows[0].context("args"), ids)
    except BaseException as error:
        hide_values(error)
        raise
    for row, sealed in zip(rows, everything, strict=True):
        row.args = sealed

"""The attempt: a durable promise to call one target's method with these arguments."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, ClassVar, Self

from django.db import models
from django.utils.translation import gettext_lazy as _

from ..conf import MODEL_SETTING, QUEUE_LENGTH, settings
from ..encryption import Context, Purpose, context_of, open_sealed
from ..exceptions import InvalidArguments, InvalidOption, InvalidTransition
from ..ids import uuid7
from ..lifecycle import RUNNING, Status
from ..payload import Arguments, load_arguments, load_value
from ..payload.limits import MAX_REASON_BYTES, MOST_RESULT_BYTES, most_args_bytes, refuse_large
from ..plaintext import hides_arguments
from ..printable import printable
from ..targets import LIMIT_KEY_LENGTH
from . import bounds, fields, ports, row_template, saving
from .dependency import Edge, as_edges
from .fields import BOUND, CHOSEN, PROMISE, STATE, mark
from .follow_ups import NO_ARGS, followed_by
from .indexes import ATTEMPT_CONSTRAINTS, ATTEMPT_INDEXES
from .large_values import require_fetched, size_of_unfetched
from .ports import Progress
from .querysets import AttemptManager, AttemptQuerySet, writing
from .saving import database_of
from .subject import SubjectField
from .unique_keys import SharedKey


class AbstractAttempt(models.Model):
    """The base of attempt models, for projects that add columns of their own.

    Name the subclass in the setting `ASYNC_ATTEMPTS_ATTEMPT_MODEL` before the first migration.
    Columns without a default are filled when the row is enqueued: from the caller, else from the
    target's `@attemptable`, else from the settings.
    """

    id = mark(models.UUIDField(primary_key=True, default=uuid7, editable=False), PROMISE | BOUND)
    queue = mark(models.CharField(_("queue"), max_length=QUEUE_LENGTH), CHOSEN)
    priority = mark(models.SmallIntegerField(_("priority")), CHOSEN)
    target = mark(fields.TargetField(_("target"), max_length=255), PROMISE | BOUND)
    target_pk = mark(
        models.CharField(_("target's primary key"), max_length=255, null=True), PROMISE | BOUND
    )
    method_name = mark(models.CharField(_("method"), max_length=255), PROMISE | BOUND)
    args = mark(fields.MeasuredBinaryField(_("arguments"), most=most_args_bytes), PROMISE)
    idempotence_token = mark(
        models.CharField(_("idempotence token"), max_length=bounds.TOKEN_LENGTH, null=True),
        PROMISE | BOUND | CHOSEN,
    )
    unique_key = mark(fields.DigestField(max_length=16, null=True), PROMISE)

    status = mark(fields.StatusField(verbose_name=_("status"), default=Status.PENDING), STATE)
    reason: models.TextField[str, str] = mark(
        fields.MeasuredTextField(_("reason"), blank=True, default="", most=MAX_REASON_BYTES), STATE
    )
    num_attempts = mark(models.IntegerField(_("executions"), default=0), STATE)
    max_attempts = mark(models.IntegerField(_("most executions"), null=True), CHOSEN)
    num_crashes = mark(models.SmallIntegerField(_("crashes"), default=0), STATE)
    claim_seq = mark(models.BigIntegerField(_("claims"), default=0), STATE)
    claimed_by = mark(models.UUIDField(_("worker"), null=True), STATE)
    cancel_requested = mark(models.BooleanField(_("cancel requested"), default=False), STATE)
    cancel_reason = mark(
        fields.MeasuredTextField(_("reason to cancel it"), null=True, most=MAX_REASON_BYTES), STATE
    )
    interrupt = mark(models.BooleanField(_("is to be interrupted"), null=True), STATE)

    scheduled_at = mark(models.DateTimeField(_("due")), STATE | CHOSEN)
    expires_at = mark(models.DateTimeField(_("expires"), null=True), CHOSEN)
    timeout = mark(models.FloatField(_("timeout"), null=True, help_text=_("seconds")), CHOSEN)
    created_at = mark(models.DateTimeField(_("created")), PROMISE)
    started_at = mark(models.DateTimeField(_("last claimed"), null=True), STATE)
    completed_at = mark(models.DateTimeField(_("ended"), null=True), STATE)

    keep_result = mark(models.BooleanField(_("keep the result")), STATE | CHOSEN)
    # Its column is `result`; that name is the method that waits for it.
    sealed_result = mark(
        fields.MeasuredBinaryField(
            _("stored result"), null=True, db_column="result", most=MOST_RESULT_BYTES
        ),
        STATE,
    )
    error_class = mark(
        models.CharField(_("last error"), max_length=255, blank=True, default=""), STATE
    )
    failure_kind = mark(
        models.CharField(_("kind of failure that ended it"), max_length=16, null=True), STATE
    )
    num_snoozes = mark(models.IntegerField(_("snoozes"), null=True), STATE)
    progress = mark(models.SmallIntegerField(_("progress in percent"), null=True), STATE)
    progress_note = mark(
        models.CharField(max_length=bounds.NOTE_LENGTH, blank=True, default=""), STATE
    )

    blockers = mark(models.IntegerField(_("unmet prerequisites"), default=0), STATE)
    has_dependents = mark(models.BooleanField(default=False), STATE)
    limit_key = mark(
        models.CharField(_("limit key"), max_length=LIMIT_KEY_LENGTH, blank=True, default=""),
        STATE | CHOSEN,
    )
    concurrency = mark(
        models.SmallIntegerField(_("most of its limit key at once"), null=True), STATE | CHOSEN
    )
    subject_type = models.CharField(_("subject's model"), max_length=255, null=True)
    subject_id = models.CharField(_("subject's primary key"), max_length=255, null=True)
    # The business object of these two; reading it gives None when it is gone.
    subject = SubjectField(_("subject"))
    schedule = mark(models.CharField(_("schedule"), max_length=255, null=True), PROMISE)
    on_ended = mark(
        fields.MeasuredTextField(
            _("what follows a bad end"), null=True, most=bounds.MAX_METADATA_BYTES
        ),
        PROMISE,
    )
    metadata = mark(
        fields.MeasuredJSONField(
            _("metadata"), default=dict, blank=True, most=bounds.MAX_METADATA_BYTES
        ),
        CHOSEN,
    )

    created = False
    """True on the object that was enqueued; False for a row that was there already."""
    allow_autocommit = False
    """True if it may be written while only another database's transaction is open."""
    loads_defaults = False
    """True to read what the database fills in at once: async code can't read it when asked."""
    edges: tuple[Edge, ...] = ()
    """The dependencies of a new row."""
    is_prerequisite = False
    """True if a row that is written together with this one waits for it."""
    keeps_for_others = False
    """True if that row is handed its result, or may ask for it."""
    key_options: Mapping[str, Any] | None = None
    """The caller's options of debounce, throttle and `one_of`, by name."""
    shared_key: SharedKey | None = None
    """The key that a new row shares with other calls, once it is filled in."""

    _plain: Arguments | None = None
    _replaced: frozenset[str] = frozenset()
    _loaded: Any

    objects: ClassVar[AttemptManager[Any]] = AttemptManager()

    class Meta:
        abstract = True
        verbose_name = _("attempt")
        verbose_name_plural = _("attempts")
        permissions = (
            ("expire_attempt", _("Can expire attempts")),
            ("fail_attempt", _("Can fail attempts")),
            ("retry_attempt", _("Can retry attempts")),
        )
        indexes = ATTEMPT_INDEXES
        constraints = ATTEMPT_CONSTRAINTS

    @hides_arguments
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if args or not row_template.copy_blank(self, kwargs):
            super().__init__(*args, **kwargs)

    def __str__(self) -> str:
        return printable(f"{self.target}.{self.method_name}")

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        if not self._state.adding:
            for name in ("_plain", "edges"):
                state.pop(name, None)
        return state

    def save(
        self,
        *,
        force_insert: Any = False,
        force_update: bool = False,
        using: str | None = None,
        update_fields: Iterable[str] | None = None,
    ) -> None:
        """Enqueue a new row, or write the columns that may change.

        Those are queue, priority, max_attempts, timeout, expires_at, metadata, subject and the
        columns a project added. Raises InvalidOption for a changed promise, InvalidTransition for
        changed state (there are `expire()`, `fail()`, `retry()`), DuplicateAttempt for a token
        that is taken.
        """
        if self._state.adding:
            saving.insert(self, using)
            return
        saving.refuse_changes(self)
        saving.check_options(self)
        super().save(
            force_update=force_update,
            using=using or database_of(self),
            update_fields=saving.columns_to_write(self, update_fields),
        )

    async def asave(self, **options: Any) -> None:
        """`save`, after which nothing is left to be read from the database."""
        self.loads_defaults = True
        await super().asave(**options)

    @classmethod
    def from_db(
        cls, db: str | None, field_names: Collection[str], values: Collection[Any], **options: Any
    ) -> Self:
        row = super().from_db(db, field_names, values, **options)
        row._loaded = dict(zip(field_names, values, strict=False))
        return row

    def refresh_from_db(
        self,
        using: str | None = None,
        fields: Iterable[str] | None = None,
        from_queryset: Any = None,
    ) -> None:
        """Read it from where it is written, unless another database is named.

        A replica may not have it yet, and none has what an open transaction wrote.
        """
        names = None if fields is None else list(fields)
        alias = database_of(self)
        if using is None and from_queryset is None:
            using = alias
        super().refresh_from_db(using, names, from_queryset)
        # Verbs go on to where it is written.
        self._state.db = alias
        if names is None:
            self._plain, self._replaced = None, frozenset()
        saving.remember(self, names)

    def context(self, purpose: Purpose, execution: int | None = None) -> Context:
        """Return the context of a ciphertext of this row; `execution`: the one that failed."""
        return context_of(purpose, self.id, self, database_of(self), execution)

    @property
    def method_args(self) -> Any:
        """The arguments: a dict (keywords), a list (positional) or `Arguments` (both).

        Decrypted when first read. Raises DecryptionError, CipherUnavailable, InvalidArguments,
        ObjectGone.
        """
        if self._plain is None:
            require_fetched(self.args, str(self.pk), "raise it to read them.")
            if self.args == NO_ARGS and not self._state.adding:
                # Those of the attempt that it follows.
                return followed_by(self).method_args
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
        """The dependencies of a new row; of a row that exists, see `dependencies`."""
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
    def state(self) -> str:
        """The status, or "running" for a pending attempt that a worker has claimed."""
        if self.status == Status.PENDING and self.claimed_by is not None:
            return RUNNING
        return str(self.status)

    @writing
    def perform(self) -> None:
        """Claim and perform this attempt here and now, if it is due, and record the outcome.

        An exception of the target is recorded as a failure, not raised.
        Raises InvalidTransition when the attempt isn't pending and due, or is running.
        """
        ports.perform(self)
        self.refresh_from_db()

    @writing
    def expire(self, reason: str = "") -> None:
        """End it as no longer wanted. Raises InvalidTransition when it has ended already."""
        self._change("expire", self._store.changes.expire(self._myself, reason))

    @writing
    def fail(self, reason: str = "") -> None:
        """End it as failed for good. Raises InvalidTransition when it has ended already."""
        self._change("fail", self._store.changes.fail(self._myself, reason))

    @writing
    def retry(self, at: datetime | None = None) -> None:
        """Run it again, now or `at` an aware datetime; its executions are counted from 0 again.

        Raises InvalidTransition unless it failed or expired.
        """
        self._change("retry", self._store.changes.retry(self._myself, at))

    @writing
    def reschedule(
        self, at: datetime | timedelta | None = None, *, by: timedelta | None = None
    ) -> None:
        """Let it be due `at` an aware datetime or a timedelta from now, or `by` a timedelta later.

        One that waits for others is due then at the earliest. Its `expires_at` stays as it is.
        Raises InvalidTransition when it is running or has ended, InvalidOption unless exactly one
        of `at` and `by` is given.
        """
        self._change("reschedule", self._store.changes.reschedule(self._myself, at, by))

    @writing
    def request_cancel(self, reason: str = "", *, interrupt: bool = False) -> None:
        """Expire it if it isn't running, else tell it to stop.

        A running target reads `current_attempt().cancel_requested`; if it doesn't, the attempt is
        expired in place of its next execution. `interrupt`: its worker raises `AttemptCancelled` in
        it, within a few seconds. Raises InvalidTransition when it has ended.
        """
        changes = self._store.changes.request_cancel(self._myself, reason, interrupt=interrupt)
        self._change("request_cancel", changes)

    @writing
    def result(self, timeout: float | timedelta | None = None) -> Any:
        """Wait until it has ended, and return what its target returned.

        `timeout`: seconds or a timedelta; None: for ever. Raises AttemptFailed, AttemptExpired or
        AttemptGone, ResultNotKept if nobody asked to keep what it returned, TimeoutError, and
        WaitingInTransaction, at once, inside an atomic block of its database.
        """
        return ports.waiting.result(self, timeout)

    @writing
    async def aresult(self, timeout: float | timedelta | None = None) -> Any:
        """`result` for async code; the event loop isn't kept waiting."""
        return await ports.waiting.aresult(self, timeout)

    @writing
    def watch(self, timeout: float | timedelta | None = None) -> AsyncGenerator[Progress, None]:
        """Yield `Progress(percent, note, state)`, now and whenever one of them changes.

        Ends after the final state. Raises TimeoutError and WaitingInTransaction as `result`.
        """
        return ports.waiting.watch(self, timeout)

    def handle_perform_error(self, error: BaseException) -> None:
        """Hook for subclasses: a worker calls it once a failed execution is recorded.

        Calls the setting `ON_ERROR` with the attempt and the error. What it raises is logged.
        """
        if on_error := settings().ON_ERROR:
            on_error(self, error)

    @property
    def _myself(self) -> AttemptQuerySet[Any]:
        return AttemptQuerySet(type(self), using=database_of(self)).filter(pk=self.pk)

    @property
    def _store(self) -> ports.StorePort:
        return ports.store_for(database_of(self))

    def _change(self, verb: str, changes: ports.Changes) -> None:
        self.refresh_from_db()
        if not changes.changed:
            why = next(iter(changes.left), self.state)
            raise InvalidTransition(f"{self}: {verb} is not possible: it is {why}.")


class Attempt(AbstractAttempt):
    """The attempt model of projects that need no columns of their own."""

    class Meta(AbstractAttempt.Meta):
        swappable = MODEL_SETTING

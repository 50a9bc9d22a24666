"""Attempts, their failures, dependencies and limits; workers, tallies and schedules."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

import async_attempts.ids
import async_attempts.models.bounds
import async_attempts.models.fields
import async_attempts.models.indexes


class Migration(migrations.Migration):
    initial = True

    # Written by hand: Django leaves it out where our own model is in use. A project's model comes
    # first, as failures refer to it.
    dependencies = [migrations.swappable_dependency(settings.ASYNC_ATTEMPTS_ATTEMPT_MODEL)]

    operations = [
        migrations.CreateModel(
            name="Queue",
            fields=[
                (
                    "name",
                    models.CharField(
                        max_length=64, primary_key=True, serialize=False, verbose_name="name"
                    ),
                ),
                (
                    "is_paused",
                    models.BooleanField(
                        help_text="Empty: as the settings say.", null=True, verbose_name="paused"
                    ),
                ),
                (
                    "tokens",
                    models.FloatField(null=True, verbose_name="executions that its rate leaves"),
                ),
                ("tokens_at", models.DateTimeField(null=True, verbose_name="counted")),
            ],
            options={
                "verbose_name": "queue",
                "verbose_name_plural": "queues",
                "permissions": (("pause_queue", "Can pause and resume queues"),),
                "constraints": [
                    async_attempts.models.bounds.Bounds(
                        moments=("tokens_at",),
                        name="aa_queue_bounds",
                        numbers={"tokens": (-9007199254740992.0, 9007199254740992.0)},
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Slot",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("queue", models.CharField(default="", max_length=64)),
                (
                    "key",
                    async_attempts.models.fields.DigestField(default=bytes(16), max_length=16),
                ),
                ("number", models.PositiveSmallIntegerField()),
                ("attempt_id", models.UUIDField(null=True)),
                ("claim_seq", models.BigIntegerField(default=0)),
            ],
            options={
                "default_permissions": (),
                "constraints": [
                    models.UniqueConstraint(
                        fields=("queue", "key", "number"), name="aa_slot_number"
                    ),
                    async_attempts.models.bounds.Bounds(
                        name="aa_slot_bounds", numbers={"claim_seq": (0, 4611686018427387905)}
                    ),
                    async_attempts.models.bounds.HexIds(ids=("attempt_id",), name="aa_slot_ids"),
                ],
            },
        ),
        migrations.CreateModel(
            name="Tally",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("minute", models.DateTimeField()),
                ("queue", models.CharField(max_length=64)),
                ("target", models.CharField(max_length=255)),
                ("outcome", models.CharField(max_length=9)),
                ("count", models.IntegerField(default=0)),
                ("wait_seconds", models.FloatField(default=0.0)),
                ("run_seconds", models.FloatField(default=0.0)),
                ("to_1ms", models.IntegerField(default=0)),
                ("to_3ms", models.IntegerField(default=0)),
                ("to_10ms", models.IntegerField(default=0)),
                ("to_30ms", models.IntegerField(default=0)),
                ("to_100ms", models.IntegerField(default=0)),
                ("to_300ms", models.IntegerField(default=0)),
                ("to_1s", models.IntegerField(default=0)),
                ("to_3s", models.IntegerField(default=0)),
                ("to_10s", models.IntegerField(default=0)),
                ("to_30s", models.IntegerField(default=0)),
                ("to_100s", models.IntegerField(default=0)),
                ("longer", models.IntegerField(default=0)),
            ],
            options={
                "default_permissions": (),
                "constraints": [
                    models.UniqueConstraint(
                        fields=("minute", "queue", "target", "outcome"), name="aa_tally_key"
                    ),
                    async_attempts.models.bounds.Bounds(
                        moments=("minute",), name="aa_tally_bounds"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Worker",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=async_attempts.ids.uuid7,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("host", models.CharField(max_length=255, verbose_name="host")),
                ("pid", models.PositiveIntegerField(verbose_name="process")),
                (
                    "name",
                    models.CharField(blank=True, default="", max_length=255, verbose_name="name"),
                ),
                ("queues", models.JSONField(default=list, verbose_name="queues")),
                ("opens", models.JSONField(default=list)),
                (
                    "version",
                    models.CharField(blank=True, default="", max_length=64, verbose_name="version"),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("live", "live"),
                            ("stopped", "stopped"),
                            ("dead", "dead, its attempts are being taken back"),
                            ("rescued", "dead, its attempts were taken back"),
                        ],
                        default="live",
                        max_length=7,
                        verbose_name="state",
                    ),
                ),
                ("lease", models.DateTimeField(verbose_name="holds its lease until")),
                ("started_at", models.DateTimeField(auto_now_add=True, verbose_name="started")),
            ],
            options={
                "verbose_name": "worker",
                "verbose_name_plural": "workers",
                "constraints": [
                    async_attempts.models.bounds.Bounds(
                        moments=("lease", "started_at"), name="aa_worker_bounds"
                    ),
                    async_attempts.models.bounds.HexIds(ids=("id",), name="aa_worker_ids"),
                ],
            },
        ),
        migrations.CreateModel(
            name="Attempt",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=async_attempts.ids.uuid7,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("queue", models.CharField(max_length=64, verbose_name="queue")),
                ("priority", models.SmallIntegerField(verbose_name="priority")),
                (
                    "target",
                    async_attempts.models.fields.TargetField(max_length=255, verbose_name="target"),
                ),
                (
                    "target_pk",
                    models.CharField(
                        max_length=255, null=True, verbose_name="target's primary key"
                    ),
                ),
                ("method_name", models.CharField(max_length=255, verbose_name="method")),
                ("args", models.BinaryField(verbose_name="arguments")),
                (
                    "idempotence_token",
                    models.CharField(
                        max_length=200,
                        null=True,
                        verbose_name="idempotence token",
                    ),
                ),
                ("unique_key", async_attempts.models.fields.DigestField(max_length=16, null=True)),
                (
                    "status",
                    async_attempts.models.fields.StatusField(
                        default="pending", verbose_name="status"
                    ),
                ),
                ("reason", models.TextField(blank=True, default="", verbose_name="reason")),
                ("num_attempts", models.IntegerField(default=0, verbose_name="executions")),
                (
                    "max_attempts",
                    models.IntegerField(null=True, verbose_name="most executions"),
                ),
                (
                    "num_crashes",
                    models.SmallIntegerField(default=0, verbose_name="crashes"),
                ),
                ("claim_seq", models.BigIntegerField(default=0, verbose_name="claims")),
                ("claimed_by", models.UUIDField(null=True, verbose_name="worker")),
                (
                    "cancel_requested",
                    models.BooleanField(default=False, verbose_name="cancel requested"),
                ),
                (
                    "cancel_reason",
                    models.TextField(null=True, verbose_name="reason to cancel it"),
                ),
                ("interrupt", models.BooleanField(null=True, verbose_name="is to be interrupted")),
                ("scheduled_at", models.DateTimeField(verbose_name="due")),
                ("expires_at", models.DateTimeField(null=True, verbose_name="expires")),
                (
                    "timeout",
                    models.FloatField(help_text="seconds", null=True, verbose_name="timeout"),
                ),
                ("created_at", models.DateTimeField(verbose_name="created")),
                ("started_at", models.DateTimeField(null=True, verbose_name="last claimed")),
                ("completed_at", models.DateTimeField(null=True, verbose_name="ended")),
                ("keep_result", models.BooleanField(verbose_name="keep the result")),
                (
                    "sealed_result",
                    models.BinaryField(db_column="result", null=True, verbose_name="stored result"),
                ),
                (
                    "error_class",
                    models.CharField(
                        blank=True, default="", max_length=255, verbose_name="last error"
                    ),
                ),
                (
                    "failure_kind",
                    models.CharField(
                        max_length=16, null=True, verbose_name="kind of failure that ended it"
                    ),
                ),
                ("num_snoozes", models.IntegerField(null=True, verbose_name="snoozes")),
                (
                    "progress",
                    models.SmallIntegerField(null=True, verbose_name="progress in percent"),
                ),
                ("progress_note", models.CharField(blank=True, default="", max_length=255)),
                (
                    "blockers",
                    models.IntegerField(default=0, verbose_name="unmet prerequisites"),
                ),
                ("has_dependents", models.BooleanField(default=False)),
                (
                    "limit_key",
                    models.CharField(
                        blank=True, default="", max_length=255, verbose_name="limit key"
                    ),
                ),
                (
                    "concurrency",
                    models.SmallIntegerField(
                        null=True, verbose_name="most of its limit key at once"
                    ),
                ),
                (
                    "subject_type",
                    models.CharField(max_length=255, null=True, verbose_name="subject's model"),
                ),
                (
                    "subject_id",
                    models.CharField(
                        max_length=255, null=True, verbose_name="subject's primary key"
                    ),
                ),
                ("schedule", models.CharField(max_length=255, null=True, verbose_name="schedule")),
                (
                    "on_ended",
                    models.TextField(null=True, verbose_name="what follows a bad end"),
                ),
                ("metadata", models.JSONField(blank=True, default=dict, verbose_name="metadata")),
            ],
            options={
                "verbose_name": "attempt",
                "verbose_name_plural": "attempts",
                "permissions": (
                    ("expire_attempt", "Can expire attempts"),
                    ("fail_attempt", "Can fail attempts"),
                    ("retry_attempt", "Can retry attempts"),
                ),
                "abstract": False,
                "swappable": "ASYNC_ATTEMPTS_ATTEMPT_MODEL",
                "indexes": [
                    async_attempts.models.indexes.SelectiveIndex(
                        fields=["queue", "num_crashes", "-priority", "scheduled_at", "id"],
                        lead=("status",),
                        name="aa_attempt_claim",
                        where=models.Q(("status", "pending")),
                    ),
                    async_attempts.models.indexes.SelectiveIndex(
                        fields=["scheduled_at", "id"],
                        lead=("status",),
                        name="aa_attempt_promote",
                        where=models.Q(("status", "scheduled")),
                    ),
                    async_attempts.models.indexes.SelectiveIndex(
                        fields=["blockers", "limit_key", "-priority", "scheduled_at", "id"],
                        lead=("status",),
                        where=models.Q(("status", "waiting")),
                        name="aa_attempt_waiting",
                    ),
                    async_attempts.models.indexes.SelectiveIndex(
                        fields=["completed_at"],
                        lead=("status",),
                        name="aa_attempt_triage",
                        where=models.Q(("status__in", ("failed", "expired"))),
                    ),
                    async_attempts.models.indexes.SelectiveIndex(
                        fields=["expires_at"],
                        lead=("completed_at",),
                        name="aa_attempt_expires",
                        where=models.Q(
                            ("completed_at__isnull", True), ("expires_at__isnull", False)
                        ),
                    ),
                    async_attempts.models.indexes.SelectiveIndex(
                        fields=["subject_type", "subject_id"],
                        lead=(),
                        name="aa_attempt_subject",
                        where=models.Q(("subject_type__isnull", False)),
                    ),
                ],
                "constraints": [
                    async_attempts.models.indexes.UniqueWhereSet(
                        field="unique_key", name="aa_attempt_unique_key"
                    ),
                    models.CheckConstraint(
                        condition=async_attempts.models.bounds.HasEndOnlyIfFinal(
                            "status", "completed_at"
                        ),
                        name="aa_attempt_completed_at",
                    ),
                    models.CheckConstraint(
                        condition=async_attempts.models.bounds.IsHeldOnlyIfDue(
                            "status", "claimed_by"
                        ),
                        name="aa_attempt_claimed_by",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("blockers", 0), ("status", "waiting"), _connector="OR"),
                        name="aa_attempt_blockers",
                    ),
                    async_attempts.models.bounds.Bounds(
                        durations=("timeout",),
                        moments=(
                            "scheduled_at",
                            "expires_at",
                            "created_at",
                            "started_at",
                            "completed_at",
                        ),
                        name="aa_attempt_bounds",
                        numbers={
                            "blockers": (0, 2147483646),
                            "claim_seq": (0, 4611686018427387904),
                            "concurrency": (1, 10000),
                            "max_attempts": (0, 2147483646),
                            "num_attempts": (0, 2147483646),
                            "num_crashes": (0, 2147483646),
                            "num_snoozes": (0, 2147483646),
                        },
                        sizes={"metadata": 16384},
                    ),
                    async_attempts.models.bounds.HexIds(
                        ids=("id", "claimed_by"), name="aa_attempt_ids"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Failure",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=async_attempts.ids.uuid7,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("number", models.PositiveIntegerField(verbose_name="execution")),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("error", "error"),
                            ("timeout", "timeout"),
                            ("crash", "crash"),
                            ("lease", "lease lost"),
                            ("integrity", "integrity"),
                            ("unknown target", "unknown target"),
                            ("refused", "refused"),
                        ],
                        max_length=16,
                        verbose_name="kind",
                    ),
                ),
                ("error_class", models.CharField(max_length=255, verbose_name="error")),
                ("details", models.BinaryField(verbose_name="sealed message and traceback")),
                ("started_at", models.DateTimeField(null=True, verbose_name="began")),
                ("failed_at", models.DateTimeField(verbose_name="failed")),
                ("worker", models.UUIDField(null=True, verbose_name="worker")),
                (
                    "attempt",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="failures",
                        to=settings.ASYNC_ATTEMPTS_ATTEMPT_MODEL,
                        verbose_name="attempt",
                    ),
                ),
            ],
            options={
                "verbose_name": "failure",
                "verbose_name_plural": "failures",
                "constraints": [
                    async_attempts.models.bounds.Bounds(
                        moments=("started_at", "failed_at"), name="aa_failure_bounds"
                    ),
                    async_attempts.models.bounds.HexIds(
                        ids=("id", "attempt", "worker"), name="aa_failure_ids"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Schedule",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=async_attempts.ids.uuid7,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("name", models.CharField(max_length=255, unique=True, verbose_name="name")),
                (
                    "source",
                    models.CharField(
                        choices=[
                            ("in code", "in code"),
                            ("settings", "settings"),
                            ("admin", "admin"),
                            ("made", "made by code"),
                        ],
                        default="admin",
                        editable=False,
                        max_length=8,
                        verbose_name="source",
                    ),
                ),
                (
                    "is_declared",
                    models.BooleanField(default=True, editable=False, verbose_name="declared"),
                ),
                (
                    "declared_at",
                    models.DateTimeField(
                        editable=False, null=True, verbose_name="last declared by a worker"
                    ),
                ),
                (
                    "cron",
                    models.CharField(blank=True, default="", max_length=255, verbose_name="cron"),
                ),
                ("every", models.IntegerField(blank=True, null=True, verbose_name="every")),
                (
                    "code_says",
                    models.CharField(
                        editable=False, max_length=255, null=True, verbose_name="times in code"
                    ),
                ),
                ("timezone", models.CharField(max_length=64, verbose_name="timezone")),
                ("target", models.CharField(max_length=511, verbose_name="target")),
                ("args", models.BinaryField(verbose_name="arguments")),
                (
                    "catch_up",
                    models.CharField(
                        choices=[("latest", "the latest missed tick"), ("none", "no missed tick")],
                        default="latest",
                        max_length=6,
                        verbose_name="after an outage",
                    ),
                ),
                (
                    "overlap",
                    models.CharField(
                        choices=[("allow", "enqueue another attempt"), ("skip", "skip the tick")],
                        default="allow",
                        max_length=5,
                        verbose_name="when the last one hasn't ended",
                    ),
                ),
                (
                    "queue",
                    models.CharField(blank=True, max_length=64, null=True, verbose_name="queue"),
                ),
                (
                    "priority",
                    models.SmallIntegerField(blank=True, null=True, verbose_name="priority"),
                ),
                (
                    "options",
                    models.JSONField(blank=True, null=True, verbose_name="options of its attempts"),
                ),
                (
                    "subject_type",
                    models.CharField(
                        editable=False, max_length=255, null=True, verbose_name="subject's model"
                    ),
                ),
                (
                    "subject_id",
                    models.CharField(
                        editable=False,
                        max_length=255,
                        null=True,
                        verbose_name="subject's primary key",
                    ),
                ),
                ("until", models.DateTimeField(blank=True, null=True, verbose_name="until")),
                (
                    "is_paused",
                    models.BooleanField(default=False, editable=False, verbose_name="paused"),
                ),
                (
                    "next_tick",
                    models.DateTimeField(editable=False, null=True, verbose_name="next tick"),
                ),
                (
                    "last_tick",
                    models.DateTimeField(editable=False, null=True, verbose_name="last tick"),
                ),
                (
                    "last_attempt",
                    models.UUIDField(editable=False, null=True, verbose_name="last attempt"),
                ),
                (
                    "num_skipped",
                    models.IntegerField(default=0, editable=False, verbose_name="skipped ticks"),
                ),
                (
                    "last_skipped",
                    models.DateTimeField(
                        editable=False, null=True, verbose_name="last skipped tick"
                    ),
                ),
            ],
            options={
                "verbose_name": "schedule",
                "verbose_name_plural": "schedules",
                "permissions": (
                    ("pause_schedule", "Can pause and resume schedules"),
                    ("enqueue_schedule", "Can enqueue schedules now"),
                    ("override_schedule", "Can change the times of schedules of code"),
                ),
                "indexes": [
                    models.Index(fields=["next_tick"], name="aa_schedule_next_tick"),
                    models.Index(fields=["subject_type", "subject_id"], name="aa_schedule_subject"),
                ],
                "constraints": [
                    async_attempts.models.bounds.Bounds(
                        moments=("next_tick", "last_tick", "last_skipped", "declared_at", "until"),
                        name="aa_schedule_bounds",
                        numbers={
                            "every": (1, 315619200),
                            "num_skipped": (0, 2147483646),
                            "priority": (-100, 100),
                        },
                        sizes={"options": 18432},
                    ),
                    async_attempts.models.bounds.HexIds(
                        ids=("id", "last_attempt"), name="aa_schedule_ids"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Dependency",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                (
                    "condition",
                    models.CharField(
                        choices=[
                            ("success", "succeeded"),
                            ("failure", "failed or expired"),
                            ("any", "ended"),
                        ],
                        max_length=7,
                        verbose_name="condition",
                    ),
                ),
                (
                    "place",
                    models.IntegerField(null=True, verbose_name="place among what is handed over"),
                ),
                (
                    "needs_result",
                    models.BooleanField(
                        default=False, verbose_name="success has to carry a result"
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("open", "waits"),
                            ("met", "ended as wanted"),
                            ("unmet", "ended otherwise"),
                        ],
                        default="open",
                        max_length=5,
                        verbose_name="state",
                    ),
                ),
                (
                    "has_expired_it",
                    models.BooleanField(default=False, verbose_name="expired the attempt"),
                ),
                ("cause", models.UUIDField(null=True, verbose_name="first that ended otherwise")),
                (
                    "attempt",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="dependencies",
                        to=settings.ASYNC_ATTEMPTS_ATTEMPT_MODEL,
                        verbose_name="attempt",
                    ),
                ),
                (
                    "prerequisite",
                    models.ForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="dependents",
                        to=settings.ASYNC_ATTEMPTS_ATTEMPT_MODEL,
                        verbose_name="prerequisite",
                    ),
                ),
            ],
            options={
                "verbose_name": "dependency",
                "verbose_name_plural": "dependencies",
                "indexes": [
                    models.Index(fields=["attempt", "place"], name="aa_dependency_attempt"),
                    async_attempts.models.indexes.SelectiveIndex(
                        fields=["id"],
                        lead=("state",),
                        name="aa_dependency_open",
                        where=models.Q(("state", "open")),
                    ),
                ],
                "constraints": [
                    async_attempts.models.bounds.HexIds(
                        ids=("attempt", "prerequisite", "cause"), name="aa_dependency_ids"
                    )
                ],
            },
        ),
        async_attempts.models.indexes.SetFillfactor("Attempt"),
    ]

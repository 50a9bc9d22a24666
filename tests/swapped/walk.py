"""The way of such a project, from its first migration to triage; prints what came of it."""

from __future__ import annotations

import json
from typing import Any

import django
from django.core.management import call_command
from django.db import connection, transaction


def walk() -> None:
    django.setup()
    call_command("makemigrations", "swapped", verbosity=0)
    call_command("migrate", verbosity=0)
    call_command("makemigrations", "swapped", "async_attempts", check=True, verbosity=0)
    call_command("check")
    told = {
        **enqueued(),
        **performed(),
        **listed(),
        "followed": followed(),
        "receipts": receipts(),
        "tables": tables(),
    }
    print(json.dumps(told))  # noqa: T201 the test reads it


def enqueued() -> dict[str, Any]:
    from async_attempts import Attempt, call
    from async_attempts.calls import enqueue_many
    from tests.swapped import attempts

    attempt: Any = Attempt
    attempt.objects.create(target=attempts.ship, method_args=[1], tenant="acme", urgent=1)
    attempt.objects.bulk_create([attempt(target=attempts.lose, method_args=[2], tenant="globex")])
    first = call(attempts.ship, 3).using(idempotence_token="a").enqueue()
    (again,) = enqueue_many([call(attempts.ship, 4).using(idempotence_token="a")])
    row = attempt.objects.get(pk=first.pk)
    row.tenant = "initech"
    row.save()
    return {"model": attempt._meta.label, "same": first.pk == again.pk}


def performed() -> dict[str, Any]:
    from async_attempts import Attempt
    from tests.swapped.models import Complaint

    call_command("run_attempts", drain=True, verbosity=0)
    rows: Any = Attempt.objects.order_by("id")
    failed: Any = rows.get(status="failed")
    return {
        "rows": [[row.heading, row.state, row.stored_result] for row in rows],
        "defaults": sorted({(row.shares, str(row.origin)) for row in rows}),
        "urgent": [row.urgent for row in rows],
        "complaints": [*Complaint.objects.values_list("tenant", "error", "state")],
        "failures": [failure.message for failure in failed.failures.all()],
        "retried": rows.filter(tenant="globex").retry().changed,
    }


def listed() -> dict[str, Any]:
    from django.contrib.auth.models import User
    from django.test import Client
    from django.urls import reverse

    from async_attempts import Attempt

    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    row: Any = Attempt.objects.get(status="pending")
    urls = [
        reverse("admin:swapped_orderattempt_changelist"),
        reverse("admin:swapped_orderattempt_change", args=[row.pk]),
    ]
    answers = [client.get(url) for url in urls]
    return {
        "answers": [answer.status_code for answer in answers],
        "shows": ["lose" in answers[0].content.decode(), "globex" in answers[1].content.decode()],
    }


def followed() -> list[str]:
    """Return the tenants of an attempt that has failed, and of the one that follows it."""
    from async_attempts import Attempt
    from tests.swapped import attempts

    attempt: Any = Attempt
    with transaction.atomic():
        lost = attempt.objects.create(target=attempts.deliver, tenant="acme")
        lost.fail("no stock")
        tenants = list(attempt.objects.filter(pk__gte=lost.pk).values_list("tenant", flat=True))
        transaction.set_rollback(True)
    return tenants


def receipts() -> int:
    """Return how often a value was prepared for four statements that are kept."""
    from async_attempts import Attempt, call, enqueue, enqueue_many
    from tests.swapped import attempts

    with transaction.atomic():
        rows = [enqueue(attempts.ship, 1), enqueue(attempts.ship, 2)]
        for _ in range(2):
            rows += enqueue_many([call(attempts.ship, number) for number in range(8)])
        written: Any = Attempt.objects.filter(pk__in=[row.pk for row in rows])
        found = len(set(written.values_list("receipt", flat=True)))
        transaction.set_rollback(True)
    return found


def tables() -> list[str]:
    names = connection.introspection.table_names()
    return sorted(name for name in names if name.startswith(("async_attempts", "swapped")))

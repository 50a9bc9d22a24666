"""What happens in the shop, scene by scene, and what has to become of each attempt."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from io import StringIO
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from django.core.management import call_command
from django.db import connection, transaction
from django.db.models import Count, Sum
from django.utils import timezone

from async_attempts import Attempt, call, enqueue, enqueue_many
from async_attempts.models import Schedule, Worker
from example_project.shop.attempts import REPORT
from example_project.shop.checkout import complete_order
from example_project.shop.clients import WarehouseClient
from example_project.shop.models import Entry
from example_project.shop.warehouse import Received, Warehouse

CATALOGUES: Final = 20


class Fate(NamedTuple):
    """What became of an attempt: its status or "rolled back", its executions, its effects.

    `raised`: the names of the errors' classes, one for each execution that didn't succeed.
    """

    became: str
    executions: int
    effects: str
    raised: tuple[str, ...] = ()


class Promise(NamedTuple):
    """An attempt that was enqueued, for an order or not, and the fate that it has to have."""

    order: int | None
    attempt: Attempt
    fate: Fate
    because: str = ""


class Scene(NamedTuple):
    """Promises under a heading, with the code that makes them; `as_one`: what they are together.

    `aside`: other promises that were made; they are checked, too, and not shown. `remark`: what can
    be said when all have ended.
    """

    heading: str
    code: str
    promises: list[Promise]
    as_one: str = ""
    aside: Sequence[Promise] = ()
    remark: Callable[[], str] = str


ROLLED_BACK: Final = Fate("rolled back", 0, "nothing")
EXPIRED: Final = Fate("expired", 0, "nothing")
MAILED: Final = Fate("succeeded", 1, "1 mail")
RESERVED: Final = Fate("succeeded", 1, "1 request, 1 reservation")
SENT: Final = Fate("succeeded", 1, "1 request, 1 parcel")
UNHEARD: Final = Fate("failed", 3, "3 requests", ("Refused",) * 3)


class PaymentDeclined(Exception):
    """The customer's bank said no."""


def scenes(warehouse: Warehouse) -> Iterator[Scene]:
    """Each happens when it is asked for: what the one before has promised has ended by then."""
    books = Entry.objects.aggregate(orders=Count("pk"), earned=Sum("amount", default=0))
    yield from an_order_is_completed()
    yield something_is_sold_out()
    yield a_payment_is_declined()
    yield a_worker_is_killed(warehouse)
    yield catalogues_are_sent(warehouse)
    yield the_night_has_come(f"{books['orders'] + 2} orders, {books['earned'] + 42:.2f} EUR")


def an_order_is_completed() -> Iterator[Scene]:
    order, attempts = complete_order("ada@example.com", {"tea": 4, "mug": 2})
    confirm, reward, tell_analytics, tea, mug, ship, cancel, close = attempts
    yield Scene(
        "One event, three listeners",
        'emit("order.completed", ...)',
        [
            Promise(order.pk, confirm, MAILED),
            Promise(order.pk, reward, Fate("succeeded", 1, "42 points")),
            Promise(
                order.pk,
                tell_analytics,
                UNHEARD,
                "The other two went ahead; this one is kept for people to look at.",
            ),
        ],
    )
    yield Scene(
        "A chain",
        "parallel(reserve, ...).then(ship).catch(cancel).finally_(close_the_books)",
        [
            Promise(order.pk, tea, RESERVED),
            Promise(order.pk, mug, RESERVED),
            Promise(
                order.pk,
                ship,
                Fate("succeeded", 2, "2 requests, 1 parcel", ("RemoteDisconnected",)),
                "The first answer got lost; the second request had the same Idempotency-Key.",
            ),
            Promise(order.pk, cancel, EXPIRED, "Not needed: nothing has failed."),
            Promise(order.pk, close, Fate("succeeded", 1, "1 entry of 42.00 EUR")),
        ],
    )


def something_is_sold_out() -> Scene:
    order, attempts = complete_order("bob@example.com", {"tea": 1, "moon lamp": 1})
    confirm, reward, tell_analytics, tea, moon_lamp, ship, cancel, close = attempts
    return Scene(
        "The same chain, when something is sold out",
        'raise Fail("moon lamp is sold out")',
        [
            Promise(order.pk, tea, RESERVED),
            Promise(order.pk, moon_lamp, Fate("failed", 1, "1 request", ("Fail",))),
            Promise(order.pk, ship, EXPIRED, "It can't begin any more."),
            Promise(
                order.pk,
                cancel,
                Fate("succeeded", 1, "1 request, 1 cancellation, 1 mail"),
                "The tea is back on the warehouse's shelf.",
            ),
            Promise(order.pk, close, Fate("succeeded", 1, "1 entry of 0.00 EUR")),
        ],
        aside=[
            Promise(order.pk, confirm, MAILED),
            Promise(order.pk, reward, Fate("succeeded", 1, "103 points")),
            Promise(order.pk, tell_analytics, UNHEARD),
        ],
    )


def a_payment_is_declined() -> Scene:
    with suppress(PaymentDeclined), transaction.atomic():
        order, attempts = complete_order("cyd@example.com", {"tea": 1, "mug": 1})
        raise PaymentDeclined
    because = "The payment was declined: the order is gone, and so is all that followed from it."
    return Scene(
        "Rolled back, so nothing is sent",
        "with transaction.atomic(): ...",
        [Promise(order.pk, attempt, ROLLED_BACK, because) for attempt in attempts],
        as_one=f"all {len(attempts)} attempts",
    )


def a_worker_is_killed(warehouse: Warehouse) -> Scene:
    warehouse.interrupt = kill_worker
    return Scene(
        "A worker is killed in the middle of it",
        "kill -9",
        [
            Promise(
                None,
                enqueue(WarehouseClient.send_catalogue, "dov@example.com"),
                Fate("succeeded", 2, "2 requests, 1 parcel", ("WorkerLost",)),
                "Its request was at the warehouse; the second one had the same Idempotency-Key.",
            )
        ],
    )


def kill_worker(received: Received) -> None:
    """The process that performs what this request is about."""
    claims = Attempt.objects.filter(pk=received.key).values("claimed_by")
    os.kill(Worker.objects.get(pk__in=claims).pid, signal.SIGKILL)
    # Of this thread of the warehouse.
    connection.close()


def catalogues_are_sent(warehouse: Warehouse) -> Scene:
    subscribers = [f"subscriber-{n}@example.com" for n in range(CATALOGUES)]
    attempts = enqueue_many(
        call(WarehouseClient.send_catalogue, address) for address in subscribers
    )
    return Scene(
        "A limit",
        'QUEUES = {"fulfilment": {"concurrency": 2}, ...}',
        [Promise(None, attempt, SENT) for attempt in attempts],
        as_one=f"{CATALOGUES} x send_catalogue",
        remark=lambda: (
            "The warehouse refuses a third request at once, and never had more than "
            f"{warehouse.most_at_once}."
        ),
    )


def the_night_has_come(report: str) -> Scene:
    call_command("attempts", "schedules", "--run-now", REPORT, stdout=StringIO())
    attempt = Attempt.objects.filter(schedule=REPORT).latest("id")
    ticks = ", ".join(f"{tick:%a %d %H:%M}" for tick in next_ticks(REPORT, 5))
    return Scene(
        "A schedule",
        '@recurring("0 2 * * *", timezone="Europe/Berlin")',
        [
            Promise(
                None,
                attempt,
                Fate("succeeded", 1, f'1 mail "{report}"'),
                f"Enqueued by hand, with manage.py attempts schedules --run-now.\nNext: {ticks}.",
            )
        ],
    )


def next_ticks(name: str, number: int) -> list[datetime]:
    """When a schedule is due next, by its own clock."""
    schedule = Schedule.objects.get(name=name)
    zone = ZoneInfo(schedule.timezone)
    return [tick.astimezone(zone) for tick in schedule.when.upcoming(number, timezone.now())]

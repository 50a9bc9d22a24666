"""Targets of every kind, and what must never be one."""

from __future__ import annotations

import os  # what a hostile row would like to reach through this module
from functools import cached_property, wraps
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from django.db import models

from async_attempts.backoff import Backoff
from async_attempts.targets import attemptable
from tests.shop.models import Order

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
R = TypeVar("R")

__all__ = ["OrderClient", "PostedOrder", "os", "send_welcome"]


def spoken_loudly(function: Callable[P, R]) -> Callable[P, R]:
    @wraps(function)
    def loudly(*args: P.args, **kwargs: P.kwargs) -> R:
        return function(*args, **kwargs)

    return loudly


@attemptable
def send_welcome(customer_pk: int) -> str:
    return f"welcome, {customer_pk}"


@attemptable(queue="emails")
async def send_later(customer_pk: int) -> str:
    return f"later, {customer_pk}"


@spoken_loudly
@attemptable(queue="emails", timeout=5)
def shout(customer_pk: int) -> str:
    return f"HELLO, {customer_pk}"


@attemptable(aliases=["tests_shop_before.clients.greet", "tests.shop.before.greet"])
def greet(customer_pk: int) -> str:
    return f"hello, {customer_pk}"


def unregistered(customer_pk: int) -> str:
    return f"nobody, {customer_pk}"


class OrderClient:
    """A class of remote calls, as most projects have one."""

    timeout = 3

    @staticmethod
    @attemptable(
        queue="fulfilment",
        backoff=Backoff(max_attempts=10),
        timeout=30,
        aliases=["tests_shop_before.OrderClient.fulfill"],
    )
    def fulfill(*, customer_token: str, order_number: int) -> str:
        return f"{order_number} for {customer_token}"

    @attemptable(queue="fulfilment")
    @staticmethod
    def cancel(order_number: int) -> str:
        return f"cancelled {order_number}"

    @classmethod
    @attemptable
    def describe(cls, order_number: int) -> str:
        return f"{cls.__name__} {order_number}"

    @attemptable
    @classmethod
    def name_class(cls) -> str:
        return cls.__name__

    @staticmethod
    @attemptable
    async def track(order_number: int) -> str:
        return f"tracked {order_number}"

    @attemptable
    def needs_self(self, order_number: int) -> str:
        return f"never {order_number}"

    @staticmethod
    def undecorated(order_number: int) -> str:
        return f"never {order_number}"

    @staticmethod
    @attemptable
    def _private(order_number: int) -> str:
        return f"never {order_number}"

    @property
    def trap(self) -> str:
        raise AssertionError("a property of a target ran")

    @cached_property
    def lazy_trap(self) -> str:
        raise AssertionError("a cached property of a target ran")

    class Returns:
        @staticmethod
        @attemptable
        def accept(order_number: int) -> str:
            return f"returned {order_number}"


class ExpressClient(OrderClient):
    """Inherits its targets."""


class Notifies(models.Model):
    class Meta:
        abstract = True

    @attemptable
    def notify(self, note: str = "") -> str:
        return f"notified {self.pk}{note}"


class PostedOrder(Order):
    """An order whose methods are targets."""

    class Meta:
        app_label = "shop"
        proxy = True

    @attemptable(queue="emails")
    def send_confirmation_email(self, language: str = "en") -> str:
        return f"order {self.number} confirmed in {language}"

    @attemptable
    async def send_feedback_mail(self) -> str:
        return f"order {self.number}: how was it?"

    @classmethod
    @attemptable
    def close_all(cls) -> str:
        return f"closed all of {cls.__name__}"

    @staticmethod
    @attemptable
    def count_up(step: int) -> int:
        return step + 1


class AddressedOrder(Order):
    """An order that reads a relation as soon as it is made."""

    class Meta:
        app_label = "shop"
        proxy = True

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        assert self.customer is not None
        self.addressee = self.customer.name

    @attemptable
    def address(self, *others: AddressedOrder) -> str:
        return ", ".join(order.addressee for order in (self, *others))


class Parcel(Notifies):
    """A row with a primary key of two columns."""

    pk = models.CompositePrimaryKey("order_number", "position")
    order_number = models.IntegerField()
    position = models.CharField(max_length=10)

    class Meta:
        app_label = "shop"

    def __str__(self) -> str:
        return f"{self.order_number}/{self.position}"

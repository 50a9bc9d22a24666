"""The target that all attempts of the benchmarks call."""

from __future__ import annotations

from typing import TypedDict

from async_attempts import Call, attemptable, call


class FulfillArguments(TypedDict):
    customer_token: str
    order_number: int


@attemptable
def fulfill(*, customer_token: str, order_number: int) -> None:
    """Does nothing: what is measured is the way there and back."""


def call_of(order_number: int) -> Call:
    """The call that each contender promises, with arguments of an ordinary size."""
    return call(fulfill, **arguments_of(order_number))


def arguments_of(order_number: int) -> FulfillArguments:
    return {"customer_token": f"token-of-customer-{order_number}", "order_number": order_number}

"""What `@attemptable` leaves on a function, and what it refuses."""

from __future__ import annotations

import functools
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from async_attempts.backoff import Backoff
from async_attempts.exceptions import InvalidOption, InvalidTarget
from async_attempts.targets import Policy, attemptable, policy_of, registered, target_of
from tests.shop import clients, legacy
from tests.shop.clients import ExpressClient, OrderClient, PostedOrder

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_django import Settings


def plain() -> str:
    return "plain"


def first_heir() -> None: ...


def second_heir() -> None: ...


async def coroutine() -> None: ...


def generator() -> Any:
    yield 1


async def async_generator() -> Any:
    yield 1


def undecorated() -> None: ...


class Client:
    @property
    def value(self) -> int:
        return 1


def test_the_decorator_returns_the_very_function():
    assert attemptable(plain) is plain
    assert attemptable(queue="emails")(plain) is plain
    assert plain() == "plain"


@pytest.mark.parametrize("kind", [staticmethod, classmethod])
def test_the_decorator_returns_the_very_method_object(kind: Callable[[Any], Any]):
    method = kind(plain)
    assert attemptable(method) is method
    assert policy_of(method) == Policy()


@pytest.mark.parametrize(
    ("function", "queue"),
    [
        (OrderClient.fulfill, "fulfilment"),
        (OrderClient.cancel, "fulfilment"),
        (OrderClient.name_class, None),
        (ExpressClient.describe, None),
        (OrderClient.Returns.accept, None),
        (PostedOrder.send_feedback_mail, None),
        (PostedOrder(number=1).send_confirmation_email, "emails"),
        (clients.send_later, "emails"),
        (clients.shout, "emails"),
    ],
)
def test_the_policy_is_found_on_every_kind_of_function(
    function: Callable[..., Any], queue: str | None
):
    policy = policy_of(function)
    assert policy is not None
    assert policy.queue == queue


@pytest.mark.parametrize("thing", [clients.unregistered, OrderClient.undecorated, print, 3, "x"])
def test_what_nobody_registered_has_no_policy(thing: object):
    assert policy_of(thing) is None


@pytest.mark.parametrize("name", ["print_invoice", "*"])
def test_the_setting_gives_the_default_policy(name: str, settings: Settings):
    assert policy_of(legacy.print_invoice) is None
    settings.ASYNC_ATTEMPTS = settings.ASYNC_ATTEMPTS | {"TARGETS": [f"tests.shop.legacy.{name}"]}
    assert policy_of(legacy.print_invoice) == Policy()


def test_all_options_are_kept_and_times_are_seconds():
    backoff = Backoff(max_attempts=3)
    attemptable(
        queue="emails",
        priority="high",
        delay=timedelta(minutes=1),
        expires_after=timedelta(days=1),
        max_attempts=4,
        backoff=backoff,
        timeout=30,
        atomic=True,
        keep_result=False,
        aliases=["tests_before.plain"],
    )(plain)
    assert policy_of(plain) == Policy(
        queue="emails",
        priority="high",
        delay=60.0,
        expires_after=86_400.0,
        max_attempts=4,
        backoff=backoff,
        timeout=30.0,
        atomic=True,
        keep_result=False,
        aliases=("tests_before.plain",),
    )


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("queue", 3),
        ("priority", 1.5),
        ("priority", True),
        ("priority", 101),
        ("delay", -1),
        ("delay", float("nan")),
        ("delay", "1"),
        ("expires_after", 0),
        ("expires_after", timedelta(seconds=-1)),
        ("timeout", 0),
        ("timeout", float("inf")),
        ("timeout", True),
        ("max_attempts", 0),
        ("max_attempts", 1.0),
        ("max_attempts", True),
        ("backoff", 30),
        ("atomic", 1),
        ("keep_result", "yes"),
        ("aliases", ["plain"]),
    ],
)
def test_a_wrong_option_is_refused_by_its_name(option: str, value: Any):
    with pytest.raises(InvalidOption, match=f"^{option}: "):
        attemptable(**{option: value})


def test_an_unknown_option_is_a_type_error():
    untyped: Any = attemptable
    with pytest.raises(TypeError, match="retries"):
        untyped(retries=3)


def test_a_coroutine_can_not_be_atomic():
    with pytest.raises(InvalidOption, match=r"atomic: .*coroutine is a coroutine function"):
        attemptable(atomic=True)(coroutine)
    assert policy_of(coroutine) is None


def _nested() -> Callable[[], None]:
    def inside() -> None: ...

    return inside


@pytest.mark.parametrize(
    ("thing", "why"),
    [
        ("tests.shop.clients.greet", "not callable"),
        (vars(Client)["value"], "not callable"),
        (Client, "decorate the methods of"),
        (lambda: None, "lambda"),
        (functools.partial(plain), "partial"),
        (_nested(), "inside a function"),
        (staticmethod(_nested()), "use functools.wraps"),
        (generator, "generator"),
        (async_generator, "generator"),
        (len, "TARGETS"),
    ],
)
def test_what_no_name_can_call_is_refused_with_the_reason(thing: Any, why: str):
    with pytest.raises(InvalidTarget, match=why):
        attemptable(thing)


def test_an_alias_belongs_to_one_function():
    attemptable(aliases=["tests_before.heirloom"])(first_heir)
    attemptable(aliases=["tests_before.heirloom"])(first_heir)
    with pytest.raises(InvalidTarget, match=r"'tests_before.heirloom'.*first_heir"):
        attemptable(aliases=["tests_before.other", "tests_before.heirloom"])(second_heir)
    assert policy_of(second_heir) is None


@pytest.mark.parametrize("alias", ["tests_before._private", "tests_before.", "__main__.run"])
def test_an_alias_is_a_public_name(alias: str):
    with pytest.raises(InvalidTarget, match="public"):
        attemptable(aliases=[alias])


def test_all_decorated_functions_are_listed_by_their_names():
    names = registered()
    assert names["tests.shop.clients.OrderClient.fulfill"].queue == "fulfilment"
    assert names["tests.shop.clients.PostedOrder.send_confirmation_email"].queue == "emails"
    assert "tests.shop.clients.unregistered" not in names


def test_a_wrapper_made_with_functools_wraps_is_the_target():
    assert target_of(clients.shout).name == ("tests.shop.clients", None, "shout")

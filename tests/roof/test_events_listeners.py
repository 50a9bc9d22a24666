"""`@on`: patterns, options, what it refuses; who listens is found, listed and checked."""

from __future__ import annotations

import importlib
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.core.checks import run_checks
from django.core.management import call_command

from async_attempts import Backoff, InvalidOption, InvalidTarget, attemptable, on
from async_attempts.events import listeners as all_listeners
from async_attempts.events.listeners import MOST, registry
from async_attempts.targets import policy_of
from tests.roof.events import emitted, names
from tests.shop import clients, listeners
from tests.shop.listeners import bystander, opinionated

on_sqlite = pytest.mark.django_db(transaction=True)
pytestmark = [pytest.mark.usefixtures("listening")]


def heard_by(event: str) -> list[str]:
    return [one.name.rpartition(".")[2] for one in registry.of(event)]


@pytest.mark.parametrize(
    ("pattern", "event", "is_heard"),
    [
        ("order.completed", "order.completed", True),
        ("order.completed", "order.completed.late", False),
        ("order.completed", "Order.completed", False),
        ("order.*", "order.completed", True),
        ("order.*", "order.item.added", True),
        ("order.*", "order", False),
        ("order.*", "reorder.completed", False),
        ("*.completed", "order.completed", True),
        ("*", "order.completed", True),
        ("order.?ancelled", "order.cancelled", True),
        ("order.[ac]*", "order.added", True),
        ("order.[!ac]*", "order.added", False),
    ],
)
def test_patterns_are_globs(pattern: str, event: str, is_heard: bool):
    on(pattern)(bystander)
    assert ("bystander" in heard_by(event)) is is_heard


@on_sqlite
def test_two_patterns_that_match_are_one_attempt_by_the_first_that_holds():
    decorated = on("e.*", priority=2)(on("*.e", priority=1)(bystander))
    on("e.*", priority=3, when=lambda payload: payload["urgent"])(decorated)

    def priorities(name: str, urgent: bool) -> list[int]:
        return [row.priority for row in emitted("default", name, urgent=urgent)]

    assert priorities("e.e", urgent=False) == [2]
    assert priorities("e.e", urgent=True) == [3]
    assert priorities("f.e", urgent=True) == [1]


@on_sqlite
def test_one_function_listens_to_several_events():
    on("e", queue="emails")(on("f")(bystander))
    rows = [emitted("default", name)[0] for name in "ef"]
    assert [(row.method_name, row.queue) for row in rows] == [
        ("bystander", "emails"),
        ("bystander", "default"),
    ]
    assert emitted("default", "g") == []


OPTIONS: dict[str, tuple[Any, Any]] = {
    "queue": ("emails", "fulfilment"),
    "priority": ("high", -5),
    "max_attempts": (7, 3),
    "timeout": (timedelta(seconds=4), 9),
    "keep_result": (False, True),
}


@on_sqlite
@pytest.mark.parametrize("option", OPTIONS)
def test_what_on_says_goes_before_what_attemptable_says(option: str):
    value, _ = OPTIONS[option]
    given: dict[str, Any] = {option: value}
    on("e", **given)(opinionated)
    [row] = emitted("default", "e")
    stored = getattr(row, option)
    assert stored == {"high": 50, timedelta(seconds=4): 4.0}.get(value, value)
    # The rest is as the target says; what a row leaves out is the worker's to look up.
    for name, (_, own) in OPTIONS.items():
        if name != option:
            assert getattr(row, name) in (own, None)
    assert row.status == "scheduled"


@on_sqlite
@pytest.mark.parametrize(("delay", "status"), [(0, "pending"), (timedelta(hours=1), "scheduled")])
def test_a_delay_of_on_goes_before_the_targets(delay: Any, status: str):
    on("e", delay=delay, expires_after=7200)(opinionated)
    [row] = emitted("default", "e")
    assert row.status == status
    assert row.expires_at is not None
    assert timedelta(hours=1) < row.expires_at - row.created_at < timedelta(hours=3)


def plain() -> None: ...
def second() -> None: ...
def third() -> None: ...
def undecorated() -> None: ...


@pytest.mark.parametrize("is_above", [True, False])
def test_the_order_of_on_and_attemptable_does_not_matter(is_above: bool):
    function = second if is_above else third
    marks = [attemptable(queue="emails", backoff=Backoff.fixed(1)), on("e")]
    for decorate in marks if is_above else reversed(marks):
        assert decorate(function) is function
    policy = policy_of(function)
    assert policy is not None
    assert (policy.queue, policy.backoff) == ("emails", Backoff.fixed(1))


def test_it_makes_a_function_attemptable():
    assert policy_of(undecorated) is None
    assert on("e")(undecorated) is undecorated
    assert policy_of(undecorated) is not None


def test_a_decorator_between_two_is_no_second_listener():
    loud = clients.spoken_loudly(on("e")(bystander))
    on("f")(loud)
    (listener,) = [one for one in all_listeners() if one.name.endswith("bystander")]
    assert (listener.function, len(listener.subscriptions)) == (loud, 2)


@pytest.mark.parametrize("pattern", ["", None, 1, bystander])
def test_a_pattern_is_a_name(pattern: Any):
    with pytest.raises(InvalidOption, match=r'@on\("order.completed"\)'):
        on(pattern)


async def asks_others(payload: Any) -> bool:
    return True


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"when": True}, "when: must be a function of the payload, not a bool"),
        ({"when": asks_others}, "when: .*can't be async"),
        ({"backoff": Backoff()}, "backoff: belongs on the function's @attemptable"),
        ({"atomic": True}, "atomic: belongs on the function's @attemptable"),
        ({"colour": "red"}, "colour: no such option"),
        ({"priority": 101}, "priority: must be"),
        ({"queue": 1}, "queue: must be"),
        ({"delay": -1}, "delay: must be"),
        ({"max_attempts": 0}, "max_attempts: must be"),
    ],
)
def test_options_are_checked_at_once(options: Any, message: str):
    with pytest.raises(InvalidOption, match=message):
        on("e", **options)


@pytest.mark.parametrize("function", [lambda: None, 1, int])
def test_only_a_function_with_a_name_listens(function: Any):
    with pytest.raises(InvalidTarget, match=r"@on\('e'\): @attemptable"):
        on("e")(function)


def test_an_event_without_end_of_names_fills_no_memory():
    for number in range(MOST + 10):
        assert registry.of(f"nobody.{number}") == ()
    assert len(registry.by_event) <= MOST


MODULE = """
from async_attempts import on

@on("reread.a")
@on("reread.b")
def hear(**payload): ...

{more}
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Writes a module of the shop and reads it."""
    monkeypatch.setattr("tests.shop.__path__", [*sys.modules["tests.shop"].__path__, str(tmp_path)])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    name = "tests.shop.reread"

    def read(more: str = "") -> ModuleType:
        (tmp_path / "reread.py").write_text(MODULE.format(more=more))
        importlib.invalidate_caches()
        if name in sys.modules:
            return importlib.reload(sys.modules[name])
        return importlib.import_module(name)

    monkeypatch.setitem(sys.modules, name, None)
    del sys.modules[name]
    yield read
    sys.modules.pop(name, None)
    vars(sys.modules["tests.shop"]).pop("reread", None)


@on_sqlite
@pytest.mark.parametrize("anew", [True, False])
def test_a_module_that_is_read_again_listens_once(module: Any, anew: bool):
    module()
    assert heard_by("reread.a") == ["hear"]
    if anew:
        del sys.modules["tests.shop.reread"]
    module()
    assert names(emitted("default", "reread.a")) == ["hear"]
    (listener,) = [one for one in all_listeners() if one.name.endswith("reread.hear")]
    assert [one.pattern for one in listener.subscriptions] == ["reread.a", "reread.b"]


def test_two_listeners_of_one_name_are_refused(module: Any):
    """The name leads to the second, which would hear what is meant for the first."""
    with pytest.raises(InvalidTarget, match=r"tests.shop.reread.hear is the name of two listeners"):
        module('@on("reread.c")\ndef hear(**payload): ...')


FOUND_AT_THE_START = """
import sys, django
django.setup()
from async_attempts.events import listeners
assert "tests.shop.listeners" in sys.modules
print(*(listener.name for listener in listeners()))
"""
BEFORE_THE_APPS = """
from async_attempts import aemit, emit, event, on

@on("order.completed")
def hear(): ...

from django.apps import apps
from async_attempts.events import listeners
print(len(listeners()), apps.ready)
"""


def python(program: str, environment: dict[str, str]) -> str:
    child = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    return child.stdout.strip()


def test_listeners_are_found_at_the_start(child_environment: dict[str, str]):
    found = python(FOUND_AT_THE_START, child_environment).split()
    assert "tests.shop.listeners.send_receipt" in found
    assert "tests.shop.listeners.Accounts.audit" in found


def test_on_works_before_the_apps_are_ready(child_environment: dict[str, str]):
    assert python(BEFORE_THE_APPS, child_environment) == "1 False"


def listed(capsys: Any) -> list[str]:
    call_command("attempts", "events")
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


def test_the_command_lists_who_listens_to_what(capsys: Any):
    on("e", queue="emails")(bystander)
    on("f")(opinionated)
    lines = listed(capsys)
    here = "tests.shop.listeners"
    assert lines[0] == "EVENT LISTENER QUEUE WHEN"
    assert lines[1:] == sorted(lines[1:])
    assert {
        f"e {here}.bystander emails -",
        f"f {here}.opinionated fulfilment -",
        f"shop.* {here}.keep_journal default -",
        f"shop.order.completed {here}.Accounts.audit default {here}.Accounts.<lambda>",
    } <= {*lines}


def test_the_command_says_when_nobody_listens(capsys: Any):
    registry.listeners = {}
    assert listed(capsys) == ["Nobody listens to events: see @on."]


def found() -> list[tuple[str | None, str]]:
    return [(message.id, str(message)) for message in run_checks(tags=["async_attempts"])]


def test_a_listeners_queue_and_priority_must_be_declared():
    on("e", queue="parcels", priority="urgent")(bystander)
    (queue, of_queue), (priority, of_priority) = found()
    assert (queue, priority) == ("async_attempts.E003", "async_attempts.E004")
    where = "@on('e') on tests.shop.listeners.bystander: the"
    assert f"{where} queue 'parcels'" in of_queue
    assert f"{where} priority 'urgent'" in of_priority


def test_a_listener_that_nobody_can_call_is_told():
    on("e")(listeners.Counter.count)
    ((identifier, message),) = found()
    assert identifier == "async_attempts.E011"
    assert "@on('e')" in message
    assert "tests.shop.listeners.Counter.count" in message


def test_a_listener_outside_of_the_apps_is_told(settings: Any):
    on("e")(plain)
    assert [identifier for identifier, _ in found()] == ["async_attempts.E011"]
    targets = ["tests.roof.test_events_listeners.*"]
    settings.ASYNC_ATTEMPTS = django_settings.ASYNC_ATTEMPTS | {"TARGETS": targets}
    assert found() == []

"""Slips that would pass in silence: a call that is never enqueued, a module that enqueues."""

from __future__ import annotations

import importlib
import warnings
from typing import Any

import pytest

from async_attempts import Attempt, InvalidOption, call, enqueue, enqueue_many, parallel
from tests.shop import clients

pytestmark = pytest.mark.only("sqlite", reason="it is said before any database is asked")

IMPORTED = "enqueued while a module is imported"


def dropped(make: Any) -> list[str]:
    """What is warned of when what `make` returns is dropped."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        made = make()
        del made
    return [str(one.message) for one in caught if one.category is RuntimeWarning]


@pytest.mark.parametrize(
    "make",
    [
        lambda: call(clients.send_welcome, 1),
        lambda: call(clients.send_welcome, 1).using(priority=3),
        lambda: call(clients.send_welcome, 1).then(clients.greet),
        lambda: parallel(call(clients.send_welcome, 1)),
    ],
    ids=["call", "using", "then", "parallel"],
)
def test_a_call_that_is_never_enqueued_warns(make):
    assert any("send_welcome" in text and "never enqueued" in text for text in dropped(make))


@pytest.mark.parametrize(
    "use",
    [
        lambda one: one.enqueue(),
        lambda one: one.using(priority=3).enqueue(),
        lambda one: one.then(clients.greet).enqueue(),
        lambda one: parallel(one, one).enqueue(),
        lambda one: enqueue_many([one, one]),
        lambda one: enqueue_many(iter([one]), returning=False),
    ],
    ids=["enqueue", "using", "then", "parallel", "many", "parts"],
)
def test_a_call_that_is_enqueued_does_not(database, use):
    assert dropped(lambda: use(call(clients.send_welcome, 1))) == []


def test_nor_does_one_that_is_refused_or_beside_such_a_one(database):
    def refused() -> None:
        with pytest.raises(InvalidOption):
            call(clients.send_welcome, 1).using(nonsense=1)
        with pytest.raises(InvalidOption):
            enqueue_many([call(clients.send_welcome, 1), "nonsense"])  # type: ignore[list-item]

    assert dropped(refused) == []


def test_an_attempt_of_a_module_that_is_imported_warns(database, tmp_path, monkeypatch):
    """Each process that imports it would enqueue another one."""
    (tmp_path / "enqueues_at_once.py").write_text(
        "from async_attempts import enqueue\n"
        "from tests.shop import clients\n"
        "enqueue(clients.send_welcome, 1)\n"
        "def later():\n"
        "    enqueue(clients.send_welcome, 2)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.warns(RuntimeWarning, match=IMPORTED):
        module = importlib.import_module("enqueues_at_once")
    assert dropped(module.later) == []
    assert dropped(lambda: enqueue(clients.send_welcome, 3)) == []
    assert Attempt.objects.using(database).count() == 3

"""Checks of targets, listeners and schedules: what could not be enqueued, or not performed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.core.checks import CheckMessage, Error
from django.core.checks import Warning as Notice

from ..conf import SETTING, settings
from ..events import listeners
from ..exceptions import AttemptsError, InvalidTarget
from ..schedules import declared_in_code, declared_in_settings, require_enqueueable
from ..targets import (
    end_handlers_of,
    has_end_handler,
    keyless_targets,
    registered,
    target_named,
    target_of,
)


def problems() -> Iterator[CheckMessage]:
    """Yield what is wrong with the targets, listeners and schedules that this process knows."""
    yield from _targets()
    yield from _end_handlers()
    yield from _keyless()
    yield from _listeners()
    yield from _schedules()


def _targets() -> Iterator[CheckMessage]:
    for where, said in _policies():
        if said.queue is not None and said.queue not in settings().QUEUES:
            yield Error(
                f"{where}: the queue {said.queue!r} is not declared.",
                hint=f"Declare it in {SETTING}['QUEUES'].",
                id="async_attempts.E003",
            )
        if isinstance(said.priority, str) and said.priority not in settings().PRIORITIES:
            yield Error(
                f"{where}: the priority {said.priority!r} is not declared.",
                hint=f"Declare it in {SETTING}['PRIORITIES'], or use a number from -100 to 100.",
                id="async_attempts.E004",
            )


def _end_handlers() -> Iterator[CheckMessage]:
    for name, policy in registered().items():
        if has_end_handler(policy):
            owner, _, method_name = name.rpartition(".")
            try:
                end_handlers_of(target_named(owner, method_name))
            except AttemptsError as error:
                yield Error(
                    str(error),
                    hint="Name an attemptable function that takes the Ending first.",
                    id="async_attempts.E015",
                )


def _keyless() -> Iterator[CheckMessage]:
    for name, option in keyless_targets():
        yield Notice(
            f"@attemptable on {name}: {option} without a key makes one attempt of calls with "
            "different arguments; those of the last one win.",
            hint='Give key=lambda …: …, or a text such as key="all" if it is meant.',
            id="async_attempts.W015",
        )


def _policies() -> Iterator[tuple[str, Any]]:
    """Yield the options of each decorator and of its backoff, after its name."""
    for name, policy in registered().items():
        yield f"@attemptable on {name}", policy
        if policy.backoff is not None:
            yield f"@attemptable on {name}: backoff", policy.backoff
    for listener in listeners():
        yield from ((listener.named(one), one.options) for one in listener.subscriptions)


def _listeners() -> Iterator[CheckMessage]:
    for listener in listeners():
        try:
            target_of(listener.name)
        except InvalidTarget as error:
            yield Error(
                f"@on({listener.subscriptions[0].pattern!r}): no worker can call this listener: "
                f"{error}",
                hint="A listener is a function of a module, or a static or a class method.",
                id="async_attempts.E011",
            )


def _schedules() -> Iterator[CheckMessage]:
    in_code = declared_in_code()
    for name in in_code.keys() & settings().SCHEDULES.keys():
        yield Error(
            f"{SETTING}['SCHEDULES'][{name!r}] is declared by @recurring, too.",
            hint="Give one of them another name.",
            id="async_attempts.E012",
        )
    try:
        in_settings = declared_in_settings()
    except AttemptsError as error:
        yield Error(f"{SETTING}['SCHEDULES']: {error}", id="async_attempts.E013")
        in_settings = {}
    for schedule in (*in_code.values(), *in_settings.values()):
        try:
            require_enqueueable(schedule)
        except AttemptsError as error:
            yield Error(f"The schedule {schedule.name!r}: {error}", id="async_attempts.E013")

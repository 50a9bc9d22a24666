"""What sealing for a recipient costs, against symmetric keys: a value, an enqueue, a drain."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from time import perf_counter, process_time
from typing import Any, Final
from uuid import UUID

from django.conf import settings
from django.test import override_settings

from async_attempts import enqueue, enqueue_many
from async_attempts.encryption import Cipher, Context, cipher
from async_attempts.encryption import recipient as recipients
from async_attempts.ids import uuid7

from ..attempts import arguments_of, call_of, fulfill
from ..environment import SEALED_FOR, environment_of
from ..measurements import Measurement
from ..place import Place
from ..processes import run, run_attempts
from ..rounds import Contender, in_rounds
from ..settings import FOR_RECIPIENTS
from .draining import FIRST, seconds_since

CIPHERS: Final[Mapping[str, Mapping[str, Any]]] = {
    "AESGCMSIVCipher": {},
    "RecipientCipher": FOR_RECIPIENTS,
}
PLAINTEXT: Final = bytes(80)
RENEWING: Final = "RecipientCipher, an ephemeral key for each value"
ENQUEUES: Final = 20
"""One `enqueue` in a round for so many attempts of the run."""


def sealing(place: Place) -> Iterator[Measurement]:
    """Values/s sealed and opened by one process, in its processor time; then attempts/s."""
    yield from of_values(place)
    yield in_rounds(
        "`enqueue()`, each in its own transaction",
        [by(name, lambda rows: enqueued(place, rows)) for name in CIPHERS],
        rows=max(1, place.attempts // ENQUEUES),
        rounds=place.rounds,
    )
    yield in_rounds(
        "`enqueue_many()` in one transaction",
        [by(name, lambda rows: bulk(place, rows)) for name in CIPHERS],
        rows=place.attempts,
        rounds=place.rounds,
    )
    yield in_rounds(
        "drain, by the default options",
        [by(name, lambda rows: drained(place, rows)) for name in CIPHERS],
        rows=place.attempts,
        rounds=place.rounds,
    )


def by(name: str, measure: Callable[[int], float]) -> Contender:
    """The measure with this cipher, here and in the workers."""

    def with_it(rows: int) -> float:
        with override_settings(ASYNC_ATTEMPTS=settings.ASYNC_ATTEMPTS | dict(CIPHERS[name])):
            return measure(rows)

    return Contender(name, with_it)


def of_values(place: Place) -> Iterator[Measurement]:
    """Values of 80 bytes, sealed one by one and opened."""
    context = Context("args", UUID(int=7), "shop.clients.OrderClient", None, "fulfill")

    def sealed(rows: int, before: Callable[[Any], object]) -> tuple[float, Sequence[bytes]]:
        values, by_it = [], cipher()
        began = process_time()
        for _ in range(rows):
            before(by_it)
            values.append(by_it.encrypt(PLAINTEXT, context))
        return process_time() - began, values

    def opened(rows: int, before: Callable[[Any], object]) -> float:
        _, values = sealed(rows, before)
        by_it: Cipher = cipher()
        began = process_time()
        for value in values:
            by_it.decrypt(value, context)
        return process_time() - began

    def contenders(measure: Callable[[int, Callable[[Any], object]], float]) -> list[Contender]:
        each = by("RecipientCipher", lambda rows: measure(rows, renewed))
        plain = [by(name, lambda rows: measure(rows, kept)) for name in CIPHERS]
        return [*plain, Contender(RENEWING, each.measure, share=0.1)]

    for workload, measure in (
        ("a value is sealed", lambda rows, before: sealed(rows, before)[0]),
        ("a value is opened", opened),
    ):
        yield in_rounds(workload, contenders(measure), rows=place.attempts, rounds=place.rounds)


def kept(_: Any) -> None:
    """Let a cipher seal with what it has."""


def renewed(by_it: Any) -> None:
    """Make a cipher seal with a new ephemeral key, as if each value came from another process."""
    by_it._sending = recipients.Sending(by_it._current)


def enqueued(place: Place, rows: int) -> float:
    began = perf_counter()
    for number in range(rows):
        enqueue(fulfill, **arguments_of(number))
    seconds = perf_counter() - began
    performed(place, rows)
    return seconds


def bulk(place: Place, rows: int) -> float:
    began = perf_counter()
    enqueue_many(call_of(number) for number in range(rows))
    seconds = perf_counter() - began
    performed(place, rows)
    return seconds


def drained(place: Place, rows: int) -> float:
    """Seconds from the first claim to the last finish."""
    first = uuid7()
    enqueue_many(call_of(number) for number in range(rows))
    place.floor.settle()
    return performed(place, rows, first)


def performed(place: Place, rows: int, first: UUID = FIRST) -> float:
    """Let a worker with the same keys perform all, check that, and clear them away."""
    is_for_recipients = "RECIPIENTS" in settings.ASYNC_ATTEMPTS
    environment = environment_of(place.alias, {SEALED_FOR: "1" if is_for_recipients else ""})
    run([run_attempts(place.alias, "--drain")], environment)
    place.proof.check(rows)
    seconds = seconds_since(first)
    place.proof.empty()
    return seconds

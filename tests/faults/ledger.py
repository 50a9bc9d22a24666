"""What was promised, what was performed, what the database says: and what is wrong between them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple, Self
from uuid import UUID

from async_attempts.lifecycle import FINAL
from async_attempts.models import AbstractAttempt, get_attempt_model
from tests.shop.models import Ledger as Effect
from tests.worker.helpers.processes import lines


class Trace(NamedTuple):
    """One line of an execution; `seconds` are of the machine's monotonic clock."""

    attempt_id: UUID
    claim_seq: int
    num_attempts: int
    pid: int
    seconds: float
    word: str

    @classmethod
    def parsed(cls, line: list[str]) -> Self:
        attempt_id, claim_seq, num_attempts, pid, seconds, word = line
        return cls(
            UUID(attempt_id), int(claim_seq), int(num_attempts), int(pid), float(seconds), word
        )


def traces(path: Path, *words: str) -> list[Trace]:
    """The traces in the file at `path`, in the order of writing; only those with these words."""
    found = map(Trace.parsed, lines(path))
    return [trace for trace in found if not words or trace.word in words]


@dataclass
class Promises:
    """What callers committed, each with the status in which it is to end, and what they undid."""

    leased: dict[UUID, str] = field(default_factory=dict)
    atomic: dict[UUID, str] = field(default_factory=dict)
    undone: set[UUID] = field(default_factory=set)

    def keep(
        self, attempts: Iterable[AbstractAttempt], *, atomic: bool = False, end: str = "succeeded"
    ) -> None:
        """These were committed."""
        kept = self.atomic if atomic else self.leased
        kept.update((attempt.pk, end) for attempt in attempts)

    @property
    def all(self) -> dict[UUID, str]:
        return self.leased | self.atomic


class Book:
    """One test's promises, and the file in which the executions leave their traces."""

    def __init__(self, database: str, directory: Path) -> None:
        self.database = database
        self.promises = Promises()
        self._directory = directory

    @property
    def path(self) -> str:
        """What targets take."""
        return str(self._directory / "ledger")

    @property
    def go(self) -> str:
        """The file that those wait for who wait until they may go on."""
        return str(self._directory / "go")

    @property
    def never(self) -> str:
        """A file that nobody makes."""
        return str(self._directory / "never")

    def let_go(self) -> None:
        Path(self.go).touch()

    def promise(self, attempts: Iterable[AbstractAttempt], **how: Any) -> None:
        """These were committed; see `Promises.keep`."""
        self.promises.keep(attempts, **how)

    def traces(self, *words: str) -> list[Trace]:
        """Those with these words, or all."""
        return traces(Path(self.path), *words)

    def of(self, attempt: AbstractAttempt, *words: str) -> list[Trace]:
        """The traces of one attempt."""
        return [trace for trace in self.traces(*words) if trace.attempt_id == attempt.pk]

    def balance(self, note: str = "") -> None:
        """Fails when anything is wrong, after all that was due has been performed."""
        verdict = self.verdict()
        assert verdict.is_clean, f"{note}\n{verdict}"

    def verdict(self) -> Verdict:
        return judge(self.database, self.promises, Path(self.path))


@dataclass
class Verdict:
    """What is wrong, a line for each; all five are empty when all is well."""

    lost: list[str] = field(default_factory=list)
    """Promised, and not there, or ended without having been performed."""

    unexpected: list[str] = field(default_factory=list)
    """Performed though undone or unknown; one claim performed twice; ended as it should not."""

    stale: list[str] = field(default_factory=list)
    """The outcome that was accepted isn't that of the last claim."""

    duplicates: list[str] = field(default_factory=list)
    """The effects of an atomic attempt are there more than once, or without its success."""

    stuck: list[str] = field(default_factory=list)
    """Not in a final state, though everything that was due has been performed."""

    @property
    def is_clean(self) -> bool:
        return not any(getattr(self, kind.name) for kind in fields(self))

    def __str__(self) -> str:
        parts = []
        for kind in fields(self):
            found = getattr(self, kind.name)
            parts.append(f"{kind.name} {len(found)}" + "".join(f"\n    {one}" for one in found[:9]))
        return "\n".join(parts)


def judge(database: str, promises: Promises, path: Path) -> Verdict:
    """Compare all three, after a drain: nothing may be left to do."""
    rows = {row.pk: row for row in get_attempt_model()._base_manager.using(database)}
    left = traces(path)
    effects = Effect.objects.using(database).order_by("id")
    written = [(effect.attempt_id, effect.claim_seq) for effect in effects]
    verdict = Verdict()
    verdict.lost += _lost(promises, rows, left, written)
    verdict.unexpected += _unexpected(promises, rows, left, written)
    verdict.stale += _stale(rows, left, written)
    verdict.duplicates += _duplicates(promises, rows, written)
    verdict.stuck += [f"{row.pk} is {row.state}" for row in rows.values() if _is_stuck(row)]
    return verdict


def repeated(
    left: Iterable[Trace], hurt: Mapping[int, float], spared: Collection[UUID] = ()
) -> list[str]:
    """The executions that were followed by another one, though nothing had happened to them.

    `hurt` are the processes that were killed or frozen, each with the moment until which what it
    had begun may be repeated. The attempts in `spared` are repeated in any case: they fail.
    """
    begun: dict[UUID, list[Trace]] = {}
    for trace in left:
        if trace.word == "begun" and trace.attempt_id not in spared:
            begun.setdefault(trace.attempt_id, []).append(trace)
    return [
        f"{one.attempt_id}: its claim {one.claim_seq}, begun by the unhurt {one.pid}, was repeated"
        for executions in begun.values()
        for one in sorted(executions, key=lambda trace: trace.claim_seq)[:-1]
        if one.seconds > hurt.get(one.pid, 0.0)
    ]


Written = list[tuple[UUID, int]]
Rows = dict[UUID, Any]


def _lost(promises: Promises, rows: Rows, left: list[Trace], written: Written) -> Iterator[str]:
    performed = {trace.attempt_id for trace in left} | {attempt_id for attempt_id, _ in written}
    for attempt_id, end in promises.all.items():
        if attempt_id not in rows:
            yield f"{attempt_id} has no row"
        elif end == "succeeded" and attempt_id not in performed and not _is_stuck(rows[attempt_id]):
            yield f"{attempt_id} is {rows[attempt_id].state} and was never performed"


def _unexpected(
    promises: Promises, rows: Rows, left: list[Trace], written: Written
) -> Iterator[str]:
    promised = promises.all
    performed = {trace.attempt_id for trace in left} | {attempt_id for attempt_id, _ in written}
    for attempt_id in (performed | rows.keys()) - promised.keys():
        undone = "was undone" if attempt_id in promises.undone else "is nobody's"
        yield f"{attempt_id} {undone}"
    for attempt_id in rows.keys() & promised.keys():
        row, end = rows[attempt_id], promised[attempt_id]
        if row.status in FINAL and row.status != end:
            yield f"{attempt_id} is {row.status} ({row.reason}), not {end}"
    begun = Counter((t.attempt_id, t.claim_seq) for t in left if t.word == "begun")
    for (attempt_id, claim_seq), times in begun.items():
        if times > 1:
            yield f"{attempt_id}: its claim {claim_seq} was begun {times} times"
        if attempt_id in rows and claim_seq > rows[attempt_id].claim_seq:
            yield f"{attempt_id}: its claim {claim_seq} was performed and isn't in the database"


def _stale(rows: Rows, left: list[Trace], written: Written) -> Iterator[str]:
    ended = {(trace.attempt_id, trace.claim_seq) for trace in left if trace.word == "ended"}
    known = ended | set(written)
    for row in rows.values():
        if row.status != "succeeded":
            continue
        if (row.pk, row.claim_seq) not in known:
            yield f"{row.pk} succeeded by claim {row.claim_seq}, which has not ended"
        elif row.stored_result not in {None, row.claim_seq}:
            yield f"{row.pk}: claim {row.stored_result}'s outcome counts, not {row.claim_seq}'s"


def _duplicates(promises: Promises, rows: Rows, written: Written) -> Iterator[str]:
    times = Counter(attempt_id for attempt_id, _ in written)
    for attempt_id in promises.atomic:
        row = rows.get(attempt_id)
        succeeded = row is not None and row.status == "succeeded"
        if times[attempt_id] != int(succeeded):
            state = row.state if row else "gone"
            yield f"{attempt_id} is {state}, and its effects are there {times[attempt_id]} times"


def _is_stuck(row: Any) -> bool:
    return row.status not in FINAL

"""Shared memory by which a child reports its state to its supervisor.

It outlives the child, whatever ends that: the supervisor reads there what had begun. It reads while
the child writes, so a number is written by one store of its eight bytes; `struct.pack_into` empties
the number first, and a loop that had just ticked would seem never to have.
"""

from __future__ import annotations

import mmap
import struct
from collections import Counter, deque
from collections.abc import Iterator
from enum import IntEnum
from typing import Final, NamedTuple
from uuid import UUID

from ...store.claimed import uptime

_NUMBER: Final = 8
_BEGUN: Final = struct.Struct("16sqdd")
_DEADLINE, _ENDS_BY = 24, 32

_NOBODY: Final = bytes(16)

_MINE, _LOST = 0, 16
_MISSING: Final = 128
"""Behind the numbers, of which the first has the index 4 and the last the index 15."""

_NAMED: Final = struct.Struct("24sd")
MOST_MISSING: Final = 64
"""The most keys for which a child counts unopened attempts; the last one is all others."""

OTHER_KEYS: Final = "others"
_TABLE: Final = _MISSING + MOST_MISSING * _NAMED.size
_AT_DATABASE: Final = -1.0


now: Final = uptime


class End(IntEnum):
    """The end of a child, as the child itself says."""

    UNTIMELY = 0
    DONE = 1
    WORN_OUT = 2
    WITHOUT_DATABASE = 3
    FAULTY = 4
    """A fault of its own ended it, for which no attempt is to blame."""


class Begun(NamedTuple):
    """An execution that has begun and isn't recorded; its times are of `now()`.

    `deadline`: the latest delivery of its timeout; 0: it has ended. `ends_by`: its latest end,
    once the timeout was delivered. When the deadline is moved after that, `ends_by` is
    earlier, and says nothing any more.
    """

    attempt_id: UUID
    claim_seq: int
    deadline: float
    ends_by: float = 0.0

    def ignores_its_timeout(self, moment: float) -> bool:
        """Return True if it was told that its time is over, and goes on all the same."""
        return 0 < self.deadline <= self.ends_by <= moment

    def is_starved(self, moment: float) -> bool:
        """Return True if its time is over, and nothing in its process came to tell it."""
        return self.ends_by < self.deadline <= moment


class Number:
    """A number in shared memory: one store of its eight bytes writes it."""

    def __init__(self, index: int) -> None:
        self._index = index

    def __get__(self, state: ChildState | SupervisorState, owner: type) -> float:
        return state.numbers[self._index]

    def __set__(self, state: ChildState | SupervisorState, value: float) -> None:
        state.numbers[self._index] = value


class ChildState:
    """The state of one child in shared memory; each number is written by one side only."""

    # --- written by the child

    ticked_at = Number(6)
    """The last tick of the claim loop, by `now()`; 0.0 if there was none."""

    suspects_seen_at = Number(10)
    """The moment when the claim loop last found suspects due; 0.0 if none are."""

    _performed, _in_flight = Number(7), Number(8)
    _rests, _end, _written = Number(15), Number(11), Number(13)

    # --- written by the supervisor (the first lease also by the child)

    started_at = Number(5)
    """The start of the child, by `now()`; 0.0 if there was none."""

    holds_until = Number(4)
    """The end of the lease, by `now()`."""

    late_at = Number(14)
    """The last renewal that was late, by `now()`; 0.0 if there was none."""

    _stop, _requested = Number(9), Number(12)

    def __init__(self, rows: int) -> None:
        self._memory = mmap.mmap(-1, _TABLE + rows * _BEGUN.size)
        self.numbers = memoryview(self._memory).cast("d")
        self._free = deque(range(_TABLE, _TABLE + rows * _BEGUN.size, _BEGUN.size))
        self._missing: dict[str, int] = {}

    def clear(self, started_at: float) -> None:
        """Clear all for the next child, which starts at that moment of `now()`."""
        self._memory[:] = bytes(len(self._memory))
        self._free = deque(range(_TABLE, len(self._memory), _BEGUN.size))
        self._missing.clear()
        self.started_at = started_at

    # --- written by the child

    @property
    def worker_id(self) -> UUID | None:
        """The id of the worker whose lease is to be renewed."""
        found = self._memory[_MINE : _MINE + 16]
        return None if found == _NOBODY else UUID(bytes=found)

    def set_worker(self, worker_id: UUID | None) -> None:
        """Set the worker whose lease is to be renewed; None for no lease."""
        self._memory[_MINE : _MINE + 16] = _NOBODY if worker_id is None else worker_id.bytes

    def tick(self, performed: int, in_flight: int) -> None:
        """Note a tick of the claim loop."""
        self.ticked_at = now()
        self._performed = performed
        self._in_flight = in_flight

    @property
    def is_at_database(self) -> bool:
        """True if the claim loop may wait for an answer of the database."""
        return self._rests == _AT_DATABASE

    @property
    def rests_since(self) -> float:
        """The moment since when the claim loop asks nothing of the database; 0.0 is the start."""
        return max(0.0, self._rests)

    def note_database(self, is_at_it: bool) -> None:
        """Note that the claim loop may wait for the database from now on, or asks nothing of it."""
        self._rests = _AT_DATABASE if is_at_it else now()

    @property
    def performed(self) -> int:
        return int(self._performed)

    @property
    def in_flight(self) -> int:
        return int(self._in_flight)

    @property
    def end(self) -> End:
        """The end of the child, if it ended by itself."""
        return End(int(self._end))

    def note_end(self, end: End) -> None:
        """Note the end. (An exit code may be a target's: `os._exit(0)`.)"""
        self._end = end

    def stacks_written(self) -> None:
        """Note that the requested stacks are written."""
        self._written = self._requested

    def count_missing_key(self, key_id: str, number: int = 1) -> None:
        """Add to the number of attempts that couldn't be opened for want of this key."""
        offset = self._missing.get(key_id)
        if offset is None:
            if len(self._missing) >= MOST_MISSING - 1 and key_id != OTHER_KEYS:
                self.count_missing_key(OTHER_KEYS, number)
                return
            offset = self._missing[key_id] = _MISSING + len(self._missing) * _NAMED.size
            name = key_id.encode()[:24].decode(errors="ignore").encode()
            self._memory[offset : offset + 24] = name.ljust(24, b"\0")
        self.numbers[(offset + 24) // _NUMBER] += number

    def missing_keys(self) -> dict[str, int]:
        """Return the numbers of attempts that couldn't be opened, by the id of the missing key."""
        found: Counter[str] = Counter()
        for name, number in _NAMED.iter_unpack(self._memory[_MISSING:_TABLE]):
            if number:
                found[name.rstrip(b"\0").decode()] += int(number)
        return found

    def begin(self, id_bytes: bytes, claim_seq: int, deadline: float) -> int | None:
        """Note that an execution begins; return the offset of the note, None without room."""
        if not self._free:
            return None
        offset = self._free.popleft()
        _BEGUN.pack_into(self._memory, offset, id_bytes, claim_seq, deadline, 0.0)
        return offset

    def move(self, offset: int, deadline: float) -> None:
        """Set another deadline of the execution noted there; 0: it has ended."""
        self.numbers[(offset + _DEADLINE) // _NUMBER] = deadline

    def told(self, offset: int, ends_by: float) -> None:
        """Note the delivery of the timeout of the execution noted there, and its latest end."""
        self.numbers[(offset + _ENDS_BY) // _NUMBER] = ends_by

    def recorded(self, offset: int) -> None:
        """Free the note of an execution that is recorded or given back."""
        self._memory[offset : offset + 16] = _NOBODY
        self._free.append(offset)

    def begun(self) -> Iterator[Begun]:
        """Yield the executions that have begun and aren't recorded."""
        table = memoryview(self._memory)[_TABLE:]
        for id_bytes, claim_seq, deadline, ends_by in _BEGUN.iter_unpack(table):
            if id_bytes != _NOBODY:
                yield Begun(UUID(bytes=id_bytes), claim_seq, deadline, ends_by)

    # --- written by the supervisor

    def lose(self, worker_id: UUID) -> None:
        """Note that this worker was rescued: it begins nothing any more."""
        self.holds_until = 0.0
        self._memory[_LOST : _LOST + 16] = worker_id.bytes

    def has_lost(self, worker_id: UUID) -> bool:
        return self._memory[_LOST : _LOST + 16] == worker_id.bytes

    @property
    def stacks_requested(self) -> bool:
        """True if the supervisor has requested stacks that the child hasn't written."""
        return self._requested > self._written

    def request_stacks(self) -> None:
        self._requested += 1

    @property
    def is_to_stop(self) -> bool:
        return bool(self._stop)

    def ask_to_stop(self) -> None:
        self._stop = 1


class SupervisorState:
    """The state of the supervisor, for the health server."""

    renewed_at = Number(0)
    """The last renewal of the lease, by `now()`."""

    _stop = Number(1)

    def __init__(self) -> None:
        self.numbers = memoryview(mmap.mmap(-1, 2 * _NUMBER)).cast("d")

    def renewed(self) -> None:
        self.renewed_at = now()

    @property
    def is_stopping(self) -> bool:
        return bool(self._stop)

    def stop(self) -> None:
        self._stop = 1

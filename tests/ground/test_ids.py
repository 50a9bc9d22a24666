"""UUIDv7: known before the INSERT, and in the order in which they were made."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

from async_attempts.ids import uuid7, uuid7s


def milliseconds(made: uuid.UUID) -> int:
    return made.int >> 80


def test_it_is_a_uuid_of_version_7_and_the_rfcs_variant():
    made = uuid7()
    assert made.version == 7
    assert made.variant == uuid.RFC_4122


def test_it_begins_with_the_milliseconds_since_1970():
    before = time.time_ns() // 1_000_000
    made = uuid7()
    # Ids made before in this process may have run ahead of the clock by a few ticks.
    assert before <= milliseconds(made) <= time.time_ns() // 1_000_000 + 1


def test_each_is_greater_than_the_one_before():
    made = [uuid7() for _ in range(20_000)]
    assert all(earlier < later for earlier, later in pairwise(made))


def test_their_text_sorts_as_they_do():
    made = [uuid7() for _ in range(1_000)]
    assert sorted(map(str, made)) == [str(one) for one in made]


def test_a_clock_that_is_set_back_does_not_set_them_back(monkeypatch):
    before = uuid7()
    monkeypatch.setattr(time, "time_ns", lambda: 1_000_000_000)
    after = [uuid7() for _ in range(10_000)]
    assert before < after[0]
    assert after == sorted(set(after))


def test_threads_never_make_the_same_and_each_sees_them_rise():
    def many(_: int) -> list[uuid.UUID]:
        return [uuid7() for _ in range(5_000)]

    with ThreadPoolExecutor(4) as threads:
        made = list(threads.map(many, range(4)))
    assert all(own == sorted(own) for own in made)
    assert len({one for own in made for one in own}) == 20_000


FORK = """
import os
from async_attempts.ids import uuid7

uuid7()
for _ in range(20):
    if (child := os.fork()) == 0:
        print(*(uuid7() for _ in range(100)), flush=True)
        os._exit(0)
    made = [uuid7() for _ in range(100)]
    assert os.waitpid(child, 0)[1] == 0
    print(*made, flush=True)
"""


def test_a_process_and_its_forks_never_make_the_same():
    told = subprocess.run(
        [sys.executable, "-c", FORK],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    made = told.stdout.split()
    assert len(set(made)) == len(made) == 20 * 2 * 100


def test_many_at_once_rise_with_those_before_and_after():
    made = [uuid7(), *uuid7s(5_000), uuid7()]
    assert all(earlier < later for earlier, later in pairwise(made))
    assert {(one.version, one.variant) for one in made} == {(7, uuid.RFC_4122)}
    assert len({one.int & 0xFFFF_FFFF for one in made}) > 4_990


def test_one_is_the_same_in_every_way_as_one_that_was_read():
    made = uuid7()
    read = uuid.UUID(str(made))
    assert (made, hash(made), made.is_safe) == (read, hash(read), read.is_safe)
    assert copy.copy(made) == pickle.loads(pickle.dumps(made)) == made  # noqa: S301 - its own

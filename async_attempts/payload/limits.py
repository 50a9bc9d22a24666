"""What can't be stored: limits of depth and size, and errors with the path to the part."""

from __future__ import annotations

import re
from itertools import accumulate
from typing import Final
from uuid import UUID

from ..conf import SETTING, settings
from ..exceptions import InvalidArguments, UnsupportedType

MAX_DEPTH: Final = 32
"""The most brackets of the stored JSON that are open at once; a tagged value takes one to three."""

MAX_RESULT_BYTES: Final = 1_048_576
"""The limit of a result in clear, a sixteenth of what MariaDB takes in one statement: a worker
would offer an outcome that the database refuses for ever."""

ENVELOPE_BYTES: Final = 1024
"""More bytes than any cipher adds to the plaintext, apart from its encoding."""

ENCODED: Final = 2
"""The most bytes that one byte takes: a project's own cipher may store base64 or hex."""

MOST_RESULT_BYTES: Final = ENCODED * MAX_RESULT_BYTES + ENVELOPE_BYTES
"""The limit of a stored result. A larger one isn't fetched: it could exhaust the memory."""

MAX_DETAILS_BYTES: Final = 524_288
"""The limit of a failure's message and traceback: 40,960 characters, at most 12 bytes each in
JSON, and what is around them."""

MOST_DETAILS_BYTES: Final = ENCODED * MAX_DETAILS_BYTES + ENVELOPE_BYTES
"""The limit of the stored details of a failure."""

MAX_REASON_BYTES: Final = 16_384
"""The limit of a reason in UTF-8."""

MAX_LIST_BYTES: Final = 65_536
"""The limit, as JSON, of a list in the row of a worker."""

LONGEST_NAME: Final = 60
"""Characters of a key that may be a name, and be shown."""

# Possessive, and the end of the data closes a string too: one pass over whatever the bytes are.
_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
_STEPS: Final = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_NO_BRACKETS: Final = bytes(set(range(256)) - _STEPS.keys())


def require_shallow(data: bytes) -> None:
    """Raise InvalidArguments if the JSON in `data` nests deeper than `MAX_DEPTH`."""
    if data.count(b"[") + data.count(b"{") <= MAX_DEPTH:
        return
    brackets = _STRING.sub(b"", data).translate(None, _NO_BRACKETS)
    if max(accumulate(map(_STEPS.__getitem__, brackets)), default=0) > MAX_DEPTH:
        raise InvalidArguments(
            f"What is stored is nested deeper than {MAX_DEPTH} brackets, so it is not read."
        )


def most_args_bytes() -> int:
    """Return the limit of stored arguments in bytes; a row with more is claimed without them."""
    return ENCODED * settings().MAX_ARGS_BYTES + ENVELOPE_BYTES


class ResultTooLarge(InvalidArguments):
    """A stored result over the limit; it wasn't fetched."""


def refuse_large(attempt_id: UUID, size: int | None) -> None:
    """Raise ResultTooLarge for a stored result over the limit, which wasn't fetched."""
    if size is not None and size > MOST_RESULT_BYTES:
        raise ResultTooLarge(
            f"The stored result of {attempt_id} has {size} bytes, more than the "
            f"{MOST_RESULT_BYTES} that are allowed with the envelope."
        )


def too_large(size: int, what: str, remedy: str) -> InvalidArguments:
    """Return the error for `what` of `size` bytes."""
    in_clear = (
        f"{what} take {size:,} bytes, more than the {settings().MAX_ARGS_BYTES:,} of "
        f"{SETTING}['MAX_ARGS_BYTES']"
    )
    return InvalidArguments(f"{in_clear}: {remedy}", f"{in_clear}.")


class UnstorableError(Exception):
    """A value that can't be stored; collects the `path` to it, innermost part first."""

    def __init__(self, what: str, why: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.path: list[str] = []

    def as_error(self) -> InvalidArguments:
        """Return the error for the caller."""
        in_clear = f"{self.what} can't be stored{f': {self.why}' if self.why else '.'}"
        return UnsupportedType(f"{_joined(self.path)}: {in_clear}", in_clear)


class TooDeepError(UnstorableError):
    """Nested deeper than can be stored, or without end since it contains itself."""

    def __init__(self) -> None:
        super().__init__("too deep")

    def as_error(self) -> InvalidArguments:
        """Return the error, with the beginning of a path that is as long as the nesting is deep."""
        in_clear = (
            "is nested too deep, or contains itself; what is stored may be "
            f"{MAX_DEPTH} brackets deep."
        )
        return InvalidArguments(f"{_joined(self.path[-2:])}: {in_clear}", f"it {in_clear}")


def _joined(path: list[str]) -> str:
    return "".join(reversed(path)).removeprefix(".")


def by_index(index: int) -> str:
    """Return the part of a path that leads to an item of a list or a tuple."""
    return f"[{index}]"


def by_key(key: object) -> str:
    """Return the part of a path to a value of a dict, without a key that may be data."""
    if isinstance(key, str) and key.isidentifier() and len(key) <= LONGEST_NAME:
        return f".{key}"
    return "[…]"

"""In which pieces, and in which order, many new attempts are written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from ..models import AbstractAttempt

CHUNK_ROWS: Final = 500
CHUNK_BYTES: Final = 4 * 2**20


def by_key(attempts: Sequence[AbstractAttempt]) -> Sequence[AbstractAttempt]:
    """In the order of their unique keys: else callers of the same ones would wait in a circle."""
    if all(attempt.unique_key is None for attempt in attempts):
        return attempts
    return sorted(attempts, key=lambda attempt: attempt.unique_key or b"")


def chunks(attempts: Sequence[AbstractAttempt], rows: int) -> Iterator[Sequence[AbstractAttempt]]:
    """`attempts` in order, in pieces of at most `rows` rows and about CHUNK_BYTES of arguments."""
    chunk: list[AbstractAttempt] = []
    size = 0
    for attempt in attempts:
        if chunk and (len(chunk) >= rows or size + len(attempt.args) > CHUNK_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(attempt)
        size += len(attempt.args)
    if chunk:
        yield chunk

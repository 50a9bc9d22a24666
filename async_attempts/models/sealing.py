"""Sealing: the arguments of a new row are encrypted for that row alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from ..encryption import cipher, encrypt, encrypt_many
from ..payload import Arguments, bind, dump_arguments, dump_each
from ..plaintext import Plaintext
from .dependency import Prerequisite, digest_of, is_new, prerequisites_of


def seal(attempt: Any, prerequisites: Sequence[Prerequisite] = ()) -> None:
    """Encrypt the arguments of a new row, whose other columns are filled in.

    `prerequisites`: what they are bound to, if not to what the row was told to wait for. Raises
    InvalidArguments, and what the cipher raises.
    """
    plaintext = dump_arguments(attempt._plain or Arguments())
    if attempt.edges:
        new = {id(p): p for edge in attempt.edges if is_new(p := edge.prerequisite)}
        bound_to = prerequisites or prerequisites_of(attempt.edges, new)
        plaintext = bind(plaintext, digest_of(bound_to))
    attempt.__dict__["args"] = encrypt(plaintext, attempt.context("args"))


def seal_for(attempt: Any, key: UUID) -> None:
    """Give the row the id of another one, and encrypt its arguments for that."""
    attempt.__dict__["id"] = key
    seal(attempt)


def plaintexts_of(rows: Sequence[Any]) -> list[Plaintext]:
    """Return the arguments of each of `rows` as bytes. Raises InvalidArguments."""
    return dump_each([row._plain for row in rows])


def seal_alike(rows: Sequence[Any], plaintexts: Sequence[Plaintext]) -> None:
    """Encrypt these arguments for these rows, which differ in nothing else but their ids."""
    ids = [row.id for row in rows]
    everything = encrypt_many(cipher(), plaintexts, rows[0].context("args"), ids)
    for row, sealed in zip(rows, everything, strict=True):
        row.args = sealed

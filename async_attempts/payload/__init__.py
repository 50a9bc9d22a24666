"""Owns how arguments and results become bytes and come back, and how large and deep they may be.

It may look up classes and rows by name, but knows neither targets nor attempts, and encrypts
nothing. The bytes are compact, strict JSON in UTF-8: `[[positional], {keyword}]` for arguments,
with a digest of its prerequisites as a third part for an attempt that has any; the value itself
for a result. A type that JSON doesn't know is written as `{"$": tag, "v": parts}`; `codec.KINDS`
is the table of the tags, beside which types that `storable` has registered have "name@version".
"""

from __future__ import annotations

from .arguments import Arguments, Handed
from .limits import MAX_DEPTH
from .serialization import (
    bind,
    dump_arguments,
    dump_each,
    dump_value,
    is_bound,
    load_arguments,
    load_bound,
    load_value,
)
from .storable import storable

__all__ = [
    "MAX_DEPTH",
    "Arguments",
    "Handed",
    "bind",
    "dump_arguments",
    "dump_each",
    "dump_value",
    "is_bound",
    "load_arguments",
    "load_bound",
    "load_value",
    "storable",
]

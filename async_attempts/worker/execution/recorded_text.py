"""Texts of errors and reasons as every database stores them."""

from __future__ import annotations

from typing import Final

REASON_LENGTH: Final = 1_000
CLASS_LENGTH: Final = 255


def class_name(exception: BaseException) -> str:
    """The dotted name of its class, short for Python's own."""
    cls = type(exception)
    name = (
        cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"
    )
    return plain_text(name, CLASS_LENGTH)


def plain_text(text: object, length: int = REASON_LENGTH) -> str:
    """`text`, as any database takes it: no NUL, no lone surrogates, at most `length` characters."""
    encodable = str(text).encode("utf-8", "replace").decode().replace("\0", "�")
    return encodable if len(encodable) <= length else encodable[: length - 1] + "…"

"""Strict, compact JSON in UTF-8."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final, NoReturn

Hook = Callable[[dict[str, Any]], Any]


def encode(plain: Any) -> bytes:
    """Return the bytes of data that is known to be plain, free of cycles and encodable."""
    return "".join(_to_parts(plain, 0)).encode()


def decoder(hook: Hook | None = None) -> Callable[[bytes], Any]:
    """Return a parser of bytes; `hook` gets every object, inner ones first, and may replace it.

    The parser raises ValueError for anything but strict JSON in UTF-8.
    """
    parser = json.JSONDecoder(object_hook=hook, parse_constant=_refuse_constant)
    begin, whole = parser.raw_decode, parser.decode

    def parse(data: bytes) -> Any:
        text = data.decode()
        # What `encode` made has no space around it, so the whole need not look for that.
        value, end = begin(text)
        return value if end == len(text) else whole(text)

    return parse


def _refuse_constant(_name: str) -> NoReturn:
    raise ValueError("NaN and Infinity are not JSON")


_encoder: Final = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":")
)


def _parts_encoder() -> Callable[[Any, int], Any]:
    """Return the encoder that `_encoder.encode` makes for each value, made once."""
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return lambda plain, _level: _encoder.iterencode(plain)
    text = json.encoder.encode_basestring
    made: Callable[[Any, int], Any] = make(
        None, _encoder.default, text, None, ":", ",", False, False, False
    )
    return made


_to_parts: Final = _parts_encoder()

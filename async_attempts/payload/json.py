"""Strict, compact JSON in UTF-8."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final, NoReturn

_encoder: Final = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":")
)


def encode(plain: Any) -> bytes:
    """Return the bytes of plain data, which is free of cycles.

    Raises UnicodeEncodeError for a lone surrogate.
    """
    return "".join(_parts(plain, 0)).encode()


def decoder(hook: Callable[[dict[str, Any]], Any] | None = None) -> Callable[[bytes], Any]:
    """Return a parser of bytes; `hook` gets every object, inner ones first, and may replace it.

    The parser raises ValueError for anything but strict JSON in UTF-8.
    """
    parser = json.JSONDecoder(object_hook=hook, parse_constant=_refuse_constant)
    return lambda data: parser.decode(data.decode())


def _refuse_constant(_name: str) -> NoReturn:
    raise ValueError("NaN and Infinity are not JSON")


def _parts_encoder() -> Callable[[Any, int], Any]:
    """Return the encoder that `_encoder.encode` makes again for each value, where Python has it.

    That takes longer than encoding what few arguments are.
    """
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return lambda plain, _level: _encoder.iterencode(plain)
    text = json.encoder.encode_basestring
    made: Callable[[Any, int], Any] = make(
        None, _encoder.default, text, None, ":", ",", False, False, False
    )
    return made


_parts: Final = _parts_encoder()

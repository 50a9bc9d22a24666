"""Plain data to and from strict, compact JSON in UTF-8."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final, NoReturn

Hook = Callable[[dict[str, Any]], Any]


def encode(plain: Any) -> bytes:
    """The bytes of data that is known to be plain, free of cycles and encodable."""
    return _to_text(plain).encode()


def decoder(hook: Hook | None = None) -> Callable[[bytes], Any]:
    """What parses bytes; `hook` gets every object, inner ones first, and may replace it.

    The parser raises ValueError for what isn't strict JSON in UTF-8.
    """
    parse = json.JSONDecoder(object_hook=hook, parse_constant=_refuse_constant).decode
    return lambda data: parse(data.decode())


def _refuse_constant(_name: str) -> NoReturn:
    raise ValueError("NaN and Infinity are not JSON")


_to_text: Final = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":")
).encode

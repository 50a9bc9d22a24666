"""Rows that are not written yet."""

from __future__ import annotations

from typing import Any

from async_attempts import Attempt


def new_attempt(**columns: Any) -> Any:
    """`Attempt(…)`, whose properties (`method_args`, `subject`) are unknown to django-stubs."""
    return Attempt(**columns)

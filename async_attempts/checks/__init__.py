"""Owns the system checks: mistakes that would only show in production, reported at the start."""

from __future__ import annotations

from .configuration import check_key_strength, check_realms

__all__ = ["check_key_strength", "check_realms"]

"""Datetimes and times of day in text: the instant by its offset, beside the name of the zone."""

from __future__ import annotations

from datetime import datetime, time, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

Stored = tuple[Any, ...]
"""The text, the zone's key or None, and 1 for a fold that the text doesn't tell."""


def dump_datetime(moment: datetime) -> list[Any]:
    """Return ISO 8601, the zone's key if it has one, and the fold of a naive one."""
    return _dumped(moment)


def load_datetime(stored: Stored) -> datetime:
    """Return the same instant in its zone, whose offset may have changed since."""
    text, zone_key, *fold = stored
    moment = datetime.fromisoformat(text).replace(fold=len(fold))
    if zone_key is None:
        return moment
    zone = _zone(zone_key)
    for either in (0, 1):
        same_clock = moment.replace(tzinfo=zone, fold=either)
        if same_clock.utcoffset() == moment.utcoffset():
            return same_clock
    return moment.astimezone(zone)


def dump_time(moment: time) -> list[Any]:
    """Return ISO 8601, the zone's key if it has one, and the fold: no offset tells that."""
    return _dumped(moment)


def load_time(stored: Stored) -> time:
    """Return the same time of day in its zone."""
    text, zone_key, *fold = stored
    moment = time.fromisoformat(text).replace(fold=len(fold))
    return moment if zone_key is None else moment.replace(tzinfo=_zone(zone_key))


def _dumped(moment: datetime | time) -> list[Any]:
    fold = [1] if moment.fold and moment.utcoffset() is None else []
    return [moment.isoformat(), _zone_key(moment.tzinfo), *fold]


def _zone(key: str) -> ZoneInfo:
    try:
        return ZoneInfo(key)
    except OSError as error:  # for the name of a directory
        raise ValueError("no zone has this key") from error


def _zone_key(zone: tzinfo | None) -> str | None:
    return zone.key if isinstance(zone, ZoneInfo) else None

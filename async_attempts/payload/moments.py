"""Datetimes and times of day in text: the instant by its offset, beside the name of the zone."""

from __future__ import annotations

from datetime import datetime, time, tzinfo
from zoneinfo import ZoneInfo

Stored = tuple[str, str | None]


def dump_datetime(moment: datetime) -> list[str | None]:
    """ISO 8601, and the zone's key if it has one."""
    return [moment.isoformat(), _zone_key(moment.tzinfo)]


def load_datetime(stored: Stored) -> datetime:
    """The same instant; in its zone, which may have another offset for it by now."""
    text, zone_key = stored
    moment = datetime.fromisoformat(text)
    if zone_key is None:
        return moment
    zone = _zone(zone_key)
    for fold in (0, 1):
        same_clock = moment.replace(tzinfo=zone, fold=fold)
        if same_clock.utcoffset() == moment.utcoffset():
            return same_clock
    return moment.astimezone(zone)


def dump_time(moment: time) -> list[str | None]:
    """ISO 8601, and the zone's key if it has one."""
    return [moment.isoformat(), _zone_key(moment.tzinfo)]


def load_time(stored: Stored) -> time:
    """The same time of day, in its zone."""
    text, zone_key = stored
    moment = time.fromisoformat(text)
    return moment if zone_key is None else moment.replace(tzinfo=_zone(zone_key))


def _zone(key: str) -> ZoneInfo:
    try:
        return ZoneInfo(key)
    except OSError as error:  # as for the name of a directory
        raise ValueError("the key is no zone's") from error


def _zone_key(zone: tzinfo | None) -> str | None:
    return zone.key if isinstance(zone, ZoneInfo) else None

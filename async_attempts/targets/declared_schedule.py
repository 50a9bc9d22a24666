"""A schedule as code or the settings declare it, before it is a row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from django.conf import settings as django_settings

from ..conf import CATCH_UP, OVERLAP, SCHEDULE_LENGTH, settings
from ..cron import Cron
from ..exceptions import InvalidOption
from ..intervals import interval_of, require_one
from ..payload import Arguments, dump_arguments
from .schedule_options import read_options
from .target import target_of

LONGEST: Final = {"name": SCHEDULE_LENGTH, "cron": 255, "target": 511}

Times = tuple[str, timedelta | None]
"""A cron and None, or "" and an interval: as a row's columns hold them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredSchedule:
    """A target, its arguments, and when they are to be enqueued.

    `cron`, or else `every`: whole seconds or a timedelta. `target`: a function's dotted name.
    `timezone`: the setting TIME_ZONE by default. `queue`, `priority`, `options` (see
    `ScheduleOptions`): as the target's `@attemptable` says by default. `source`: where it is
    declared. Raises InvalidOption.
    """

    name: str
    cron: str | None = None
    every: timedelta | None = None
    target: str
    timezone: str | None = None
    arguments: Arguments
    catch_up: str = "latest"
    overlap: str = "allow"
    queue: str | None = None
    priority: int | str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    source: str = "in code"

    def __post_init__(self) -> None:
        require_one(self.cron, self.every)
        for option, longest in LONGEST.items():
            given = getattr(self, option)
            if option == "cron" and self.every is not None:
                continue
            if not isinstance(given, str) or not 0 < len(given) <= longest:
                raise InvalidOption(
                    f"{option}: must be a string of 1 to {longest} characters, not {given!r}."
                )
        if self.every is not None:
            object.__setattr__(self, "every", interval_of(self.every))
        # An interval has a zone, too: its ticks are shown by that clock.
        Cron(self.cron or "@daily", "UTC" if self.timezone is None else self.timezone)
        object.__setattr__(self, "options", read_options(self.options))
        for option, words in (("catch_up", CATCH_UP), ("overlap", OVERLAP)):
            if (given := getattr(self, option)) not in words:
                raise InvalidOption(
                    f"{option}: must be {' or '.join(map(repr, words))}, not {given!r}."
                )

    @property
    def zone(self) -> str:
        """Return the timezone's name."""
        return django_settings.TIME_ZONE if self.timezone is None else self.timezone

    @property
    def times(self) -> Times:
        """Return the cron or the interval, as a row's columns hold them."""
        return self.cron or "", self.every

    def require_enqueueable(self) -> None:
        """Raise what enqueueing would: InvalidTarget, InvalidArguments, InvalidOption."""
        arguments = self.arguments
        target_of(self.target).signature.check(arguments.args, arguments.kwargs)
        dump_arguments(arguments)
        self.require_options()

    def require_options(self) -> None:
        """Raise InvalidOption for a queue or a priority that the settings don't have."""
        if self.queue is not None:
            settings().queue(self.queue)
        if self.priority is not None:
            settings().priority(self.priority)

    def columns(self) -> dict[str, Any]:
        """Return the columns of its row, but for the arguments. Raises InvalidOption."""
        return {
            "source": self.source,
            "cron": self.cron or "",
            "every": self.every,
            "timezone": self.zone,
            "target": self.target,
            "catch_up": self.catch_up,
            "overlap": self.overlap,
            "queue": self.queue,
            "priority": None if self.priority is None else settings().priority(self.priority),
            "options": dict(self.options) or None,
        }

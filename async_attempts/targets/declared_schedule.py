"""A schedule as code or the settings declare it, before it is a row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from django.conf import settings as django_settings

from ..conf import CATCH_UP, OVERLAP, SCHEDULE_LENGTH, settings
from ..cron import Cron
from ..exceptions import InvalidOption
from ..payload import Arguments, dump_arguments
from .target import target_of

LONGEST: Final = {"name": SCHEDULE_LENGTH, "cron": 255, "target": 511}


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredSchedule:
    """A target, its arguments, and when they are to be enqueued.

    `target`: a function's dotted name. `timezone`: the setting TIME_ZONE by default. `queue`,
    `priority`: as the target's `@attemptable` says by default. `source`: where it is declared.
    Raises InvalidOption.
    """

    name: str
    cron: str
    target: str
    timezone: str | None = None
    arguments: Arguments
    catch_up: str = "latest"
    overlap: str = "allow"
    queue: str | None = None
    priority: int | str | None = None
    source: str = "in code"

    def __post_init__(self) -> None:
        for option, longest in LONGEST.items():
            given = getattr(self, option)
            if not isinstance(given, str) or not 0 < len(given) <= longest:
                raise InvalidOption(
                    f"{option}: must be a string of 1 to {longest} characters, not {given!r}."
                )
        Cron(self.cron, "UTC" if self.timezone is None else self.timezone)
        for option, words in (("catch_up", CATCH_UP), ("overlap", OVERLAP)):
            if (given := getattr(self, option)) not in words:
                raise InvalidOption(
                    f"{option}: must be {' or '.join(map(repr, words))}, not {given!r}."
                )

    @property
    def zone(self) -> str:
        """Return the timezone's name."""
        return django_settings.TIME_ZONE if self.timezone is None else self.timezone

    def require_enqueueable(self) -> None:
        """Raise what enqueueing would: InvalidTarget, InvalidArguments, InvalidOption."""
        arguments = self.arguments
        target_of(self.target).signature.check(arguments.args, arguments.kwargs)
        dump_arguments(arguments)
        if self.queue is not None:
            settings().queue(self.queue)
        if self.priority is not None:
            settings().priority(self.priority)

    def columns(self) -> dict[str, Any]:
        """Return the columns of its row, but for the arguments. Raises InvalidOption."""
        return {
            "source": self.source,
            "cron": self.cron,
            "timezone": self.zone,
            "target": self.target,
            "catch_up": self.catch_up,
            "overlap": self.overlap,
            "queue": self.queue,
            "priority": None if self.priority is None else settings().priority(self.priority),
        }

"""A schedule as code or the settings declare it, before it is a row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from django.conf import settings as django_settings

from async_attempts.conf import CATCH_UP, OVERLAP, SCHEDULE_LENGTH, settings
from async_attempts.cron import Cron
from async_attempts.exceptions import InvalidOption
from async_attempts.payload import Arguments, dump_arguments

from .known import known_target

LONGEST: Final = {"name": SCHEDULE_LENGTH, "cron": 255, "target": 511}


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """What is to be enqueued, and when.

    `target`: a function's dotted name. `timezone` None: the setting TIME_ZONE. `queue`, `priority`
    None: as the target's `@attemptable` says. `source`: where it is declared.
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
        """The timezone's name."""
        return django_settings.TIME_ZONE if self.timezone is None else self.timezone

    def require_enqueueable(self) -> None:
        """Raises what enqueueing would: InvalidTarget, InvalidArguments, InvalidOption."""
        known = known_target(self.target)
        known.shapes.check(self.arguments.args, self.arguments.kwargs)
        dump_arguments(self.arguments)
        if self.queue is not None:
            settings().queue(self.queue)
        if self.priority is not None:
            settings().priority(self.priority)

    def columns(self) -> dict[str, Any]:
        """Those of its row, but for the arguments. Raises InvalidOption for the priority."""
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

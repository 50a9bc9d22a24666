"""The prerequisites of attempts: one row for each attempt that has to end before another begins."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from hashlib import sha256
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from ..conf import attempt_model_name
from ..exceptions import InvalidOption
from ..lifecycle import Status
from ..printable import printable
from .bounds import HexIds
from .indexes import SelectiveIndex


class Condition(models.TextChoices):
    """The ending of a prerequisite that its dependent waits for."""

    SUCCESS = "success", _("succeeded")
    FAILURE = "failure", _("failed or expired")
    ANY = "any", _("ended")


ENDINGS: Final = {
    Condition.SUCCESS: frozenset({Status.SUCCEEDED}),
    Condition.FAILURE: frozenset({Status.FAILED, Status.EXPIRED}),
    Condition.ANY: frozenset({Status.SUCCEEDED, Status.FAILED, Status.EXPIRED}),
}


class Edge(NamedTuple):
    """A dependency of a row that isn't written yet.

    `prerequisite`: a row, written or to be written with it, or the id of one. `place`: the place of
    its result, or its error, among those that are handed over; None: nothing of it is.
    `keeps_result`: True if the prerequisite keeps its result for it.
    """

    prerequisite: Any
    condition: str = Condition.SUCCESS
    place: int | None = None
    keeps_result: bool = False


def as_edges(depends_on: Any) -> tuple[Edge, ...]:
    """The edges that the option `depends_on` stands for: to attempts, ids, or (one, condition).

    Raises InvalidOption for anything else.
    """
    if depends_on is None:
        return ()
    if isinstance(depends_on, Mapping):
        given: Iterable[Any] = depends_on.items()
    elif isinstance(depends_on, models.Model | UUID):
        given = (depends_on,)
    elif isinstance(depends_on, Iterable) and not isinstance(depends_on, str | bytes):
        given = depends_on
    else:
        raise _not_an_attempt(depends_on)
    edges = {_key(edge.prerequisite): edge for edge in map(_as_edge, given)}
    return tuple(edges.values())


class Prerequisite(NamedTuple):
    """An edge as the sealed arguments of its dependent are bound to it.

    `needs_result`: if it succeeded, its success carries a sealed result, or was made up.
    """

    id: UUID
    condition: str
    place: int | None
    needs_result: bool


def prerequisites_of(edges: Iterable[Edge], rows: Mapping[int, Any]) -> list[Prerequisite]:
    """The prerequisites that a new row with these edges is bound to.

    `rows`: of the rows that are written with it, by the `id()` of what the edges name, what stands
    for that in the database: itself, or the row that has its idempotence token.
    """
    found = []
    for edge in edges:
        row = rows.get(id(edge.prerequisite))
        is_kept = row is not None and row.keep_result and edge.condition != Condition.FAILURE
        key = _key(edge.prerequisite if row is None else row)
        found.append(Prerequisite(key, str(edge.condition), edge.place, is_kept))
    return found


def digest_of(prerequisites: Iterable[Prerequisite]) -> str:
    """A digest (SHA-256, in hexadecimal) of prerequisites: those handed over in their order."""
    lines = sorted(
        (one.place is None, one.place or 0, one.id.hex, one.condition, one.needs_result)
        for one in prerequisites
    )
    return sha256(repr(lines).encode()).hexdigest()


def note_prerequisites(rows: Sequence[Any]) -> None:
    """Let those new rows know that others of them wait for them.

    Raises InvalidOption for rows that wait for each other, so that none could ever begin.
    """
    waiting = [row for row in rows if row.edges]
    if not waiting:
        return
    written = {id(row): row for row in rows}
    needed: dict[int, set[int]] = {}
    for row in waiting:
        new = [edge for edge in row.edges if is_new(edge.prerequisite)]
        needed[id(row)] = {id(edge.prerequisite) for edge in new}
        for edge in new:
            edge.prerequisite.is_prerequisite = True
            edge.prerequisite.keeps_for_others |= edge.keeps_result
    stuck = [key for key, keys in needed.items() if not keys <= written.keys()]
    try:
        TopologicalSorter(needed).prepare()
    except CycleError as error:
        stuck += error.args[1][1:]
    if stuck:
        circle = ", ".join(str(written[key]) for key in stuck[:3])
        raise InvalidOption(
            "depends_on: these wait for each other, or for rows that aren't written with them, "
            f"so that none could ever begin: {circle}."
        )


def is_new(prerequisite: Any) -> bool:
    """True for a row that isn't written yet."""
    return not isinstance(prerequisite, UUID) and prerequisite._state.adding


def _as_edge(given: Any) -> Edge:
    if isinstance(given, Edge):
        return given
    prerequisite, condition = given if isinstance(given, tuple) else (given, Condition.SUCCESS)
    if not isinstance(prerequisite, UUID) and not hasattr(prerequisite, "is_prerequisite"):
        raise _not_an_attempt(prerequisite)
    if condition not in Condition.values:
        raise InvalidOption(
            f"depends_on: the condition {condition!r} must be one of {', '.join(Condition.values)}."
        )
    return Edge(prerequisite, str(condition), keeps_result=True)


def _key(prerequisite: Any) -> Any:
    return getattr(prerequisite, "pk", prerequisite)


def _not_an_attempt(given: Any) -> InvalidOption:
    return InvalidOption(
        f"depends_on: a {type(given).__name__} is no attempt; give attempts, their ids, or "
        "(attempt, condition)."
    )


class Dependency(models.Model):
    """The attempt waits until the prerequisite has ended as wanted.

    There are no foreign keys in the database: inserting one would lock the prerequisite, and a
    caller's open transaction must never hold up a finish.
    """

    class State(models.TextChoices):
        """The state of an edge."""

        OPEN = "open", _("waits")
        MET = "met", _("ended as wanted")
        UNMET = "unmet", _("ended otherwise")

    id = models.BigAutoField(primary_key=True)
    attempt = models.ForeignKey(
        attempt_model_name(),
        models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name="dependencies",
        verbose_name=_("attempt"),
    )
    prerequisite = models.ForeignKey(
        attempt_model_name(),
        models.DO_NOTHING,
        db_constraint=False,
        related_name="dependents",
        verbose_name=_("prerequisite"),
    )
    condition = models.CharField(_("condition"), max_length=7, choices=Condition.choices)
    place = models.IntegerField(_("place among what is handed over"), null=True)
    needs_result = models.BooleanField(_("success has to carry a result"), default=False)
    state = models.CharField(_("state"), max_length=5, choices=State.choices, default=State.OPEN)
    has_expired_it = models.BooleanField(_("expired the attempt"), default=False)
    cause = models.UUIDField(_("first that ended otherwise"), null=True)

    class Meta:
        verbose_name = _("dependency")
        verbose_name_plural = _("dependencies")
        indexes = (
            models.Index(fields=("attempt", "place"), name="aa_dependency_attempt"),
            SelectiveIndex(
                fields=("id",), where=Q(state="open"), lead=("state",), name="aa_dependency_open"
            ),
        )
        constraints = (HexIds(name="aa_dependency_ids", ids=("attempt", "prerequisite", "cause")),)

    def __str__(self) -> str:
        return f"{printable(self.condition)} of {self.prerequisite_id}"

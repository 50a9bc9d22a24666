"""The verbs pause, resume and run now, as actions of the list and as buttons of a page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.core.exceptions import PermissionDenied
from django.db import router
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from ..exceptions import AttemptsError
from ..models import Schedule
from ..store import store_for
from .selection import SelectingMixin

PERMISSION: Final = {"pause": "pause", "resume": "pause", "run_now": "enqueue"}
BUTTONS: Final = {"pause": _("Pause"), "resume": _("Resume"), "run_now": _("Run now")}


class ScheduleVerbsMixin(SelectingMixin):
    """The verbs, for all schedules, however they were declared."""

    actions: Sequence[str] = ("pause", "resume", "run_now")

    def has_pause_permission(self, request: HttpRequest) -> bool:
        """Return True if the user may pause and resume schedules."""
        return request.user.has_perm(f"{self.opts.app_label}.pause_schedule")

    def has_enqueue_permission(self, request: HttpRequest) -> bool:
        """Return True if the user may enqueue attempts of schedules now."""
        return request.user.has_perm(f"{self.opts.app_label}.enqueue_schedule")

    @admin.action(permissions=["pause"], description=_("Pause: enqueue nothing more"))
    def pause(self, request: HttpRequest, queryset: QuerySet[Schedule]) -> HttpResponse:
        """Stop enqueueing for these schedules until they are resumed."""
        self._require(request, "pause")
        ids = list(queryset.filter(is_paused=False).values_list("pk", flat=True))
        n = self._store.schedules.pause(ids)
        self._log(request, ids, "Paused.")
        return self._told(request, n, ngettext("%(n)d paused.", "%(n)d paused.", n) % {"n": n})

    @admin.action(permissions=["pause"], description=_("Resume: go on with the next run"))
    def resume(self, request: HttpRequest, queryset: QuerySet[Schedule]) -> HttpResponse:
        """Resume these schedules with the next tick."""
        self._require(request, "resume")
        paused = queryset.filter(is_paused=True)
        resumed = self._one_by_one(request, paused, lambda pk: self._store.schedules.resume([pk]))
        self._log(request, resumed, "Resumed.")
        n = len(resumed)
        return self._told(request, n, ngettext("%(n)d resumed.", "%(n)d resumed.", n) % {"n": n})

    @admin.action(permissions=["enqueue"], description=_("Run now: enqueue an attempt"))
    def run_now(self, request: HttpRequest, queryset: QuerySet[Schedule]) -> HttpResponse:
        """Enqueue an attempt of each schedule, beside its ticks."""
        self._require(request, "run_now")
        enqueued = self._one_by_one(request, queryset, self._store.schedules.enqueue_now)
        self._log(request, enqueued, "Run now.")
        n = len(enqueued)
        told = ngettext("%(n)d attempt enqueued.", "%(n)d attempts enqueued.", n) % {"n": n}
        return self._told(request, n, told)

    def verbs_for(self, request: HttpRequest, schedule: Schedule) -> dict[str, Promise]:
        """Return the buttons that this user has for `schedule`."""
        verbs = ("resume" if schedule.is_paused else "pause", "run_now")
        return {verb: BUTTONS[verb] for verb in verbs if self._may(request, verb)}

    @property
    def _store(self) -> Any:
        return store_for(router.db_for_write(Schedule))

    def _may(self, request: HttpRequest, verb: str) -> bool:
        # By the public method, which a project may override.
        return bool(getattr(self, f"has_{PERMISSION[verb]}_permission")(request))

    def _require(self, request: HttpRequest, verb: str) -> None:
        if request.method != "POST" or not self._may(request, verb):
            raise PermissionDenied

    def _one_by_one(
        self, request: HttpRequest, queryset: QuerySet[Schedule], act: Callable[[UUID], object]
    ) -> list[UUID]:
        """Call `act` with each id; return the ids that succeeded, and show the other errors."""
        done = []
        for schedule in queryset.only("pk", "name"):
            try:
                act(schedule.pk)
            except AttemptsError as error:
                self.message_user(request, f"{schedule}: {error}", messages.ERROR)
            else:
                done.append(schedule.pk)
        return done

    def _log(self, request: HttpRequest, ids: Sequence[UUID], entry: str) -> None:
        if ids:
            schedules = list(Schedule._base_manager.filter(pk__in=ids).only("name"))
            user_id: Any = request.user.pk
            LogEntry.objects.log_actions(user_id, schedules, CHANGE, entry)

    def _told(self, request: HttpRequest, changed: int, told: str) -> HttpResponseRedirect:
        self.message_user(request, told, messages.SUCCESS if changed else messages.WARNING)
        return self.back(request)

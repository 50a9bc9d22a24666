"""The schedules: their form, their next ticks, and the verbs pause, resume and run now."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

from django.contrib import admin, messages
from django.db import router
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.functional import Promise
from django.utils.html import format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from .. import schedules
from ..exceptions import AttemptsError
from ..models import Schedule, get_attempt_model
from ..store import Store, store_for
from .display import link_to_page, moment_cell
from .pages import FROM_PAGE, AnyModelAdmin, ReadableMixin, SelectingMixin, log_changes
from .schedule_forms import TIMES, ScheduleForm, TimesForm

PERMISSION: Final = {
    "pause": "pause",
    "resume": "pause",
    "run_now": "enqueue",
    "back_to_code": "override",
}

BUTTONS: Final = {
    "pause": _("Pause"),
    "resume": _("Resume"),
    "run_now": _("Run now"),
    "back_to_code": _("Back to code"),
}

OWNED: Final = (Schedule.Source.ADMIN, Schedule.Source.MADE)
"""The sources of the schedules that no declaration would bring back, or change back."""

UPCOMING: Final = 5

OVERDUE: Final = timedelta(minutes=1)

DEFINITION: Final = (
    "name cron every timezone target method_args catch_up overlap queue priority until options"
).split()

SHOWN: Final = (
    "times state_word upcoming last_run last_tick num_skipped last_skipped about source"
).split()


class ScheduleVerbsMixin(SelectingMixin):
    """The verbs, for all schedules, however they were declared."""

    actions: Sequence[str] = ("pause", "resume", "run_now", "back_to_code")

    def has_pause_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(f"{self.opts.app_label}.pause_schedule")

    def has_enqueue_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(f"{self.opts.app_label}.enqueue_schedule")

    def has_override_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(f"{self.opts.app_label}.override_schedule")

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
        self._require(request, "pause")
        paused = queryset.filter(is_paused=True)
        resumed = self._one_by_one(request, paused, lambda pk: self._store.schedules.resume([pk]))
        self._log(request, resumed, "Resumed.")
        n = len(resumed)
        return self._told(request, n, ngettext("%(n)d resumed.", "%(n)d resumed.", n) % {"n": n})

    @admin.action(permissions=["enqueue"], description=_("Run now: enqueue an attempt"))
    def run_now(self, request: HttpRequest, queryset: QuerySet[Schedule]) -> HttpResponse:
        """Enqueue an attempt of each schedule, beside its ticks."""
        self._require(request, "enqueue")
        enqueued = self._one_by_one(request, queryset, self._store.schedules.enqueue_now)
        self._log(request, enqueued, "Run now.")
        n = len(enqueued)
        told = ngettext("%(n)d attempt enqueued.", "%(n)d attempts enqueued.", n) % {"n": n}
        return self._told(request, n, told)

    @admin.action(permissions=["override"], description=_("Back to the times that code says"))
    def back_to_code(self, request: HttpRequest, queryset: QuerySet[Schedule]) -> HttpResponse:
        """Give these schedules the times again that code says."""
        self._require(request, "override")
        changed = queryset.filter(code_says__isnull=False)
        names = dict(changed.values_list("pk", "name"))
        alias = self._store.database.alias
        done = self._one_by_one(
            request, changed, lambda pk: schedules.back_to_code(names[pk], database=alias)
        )
        self._log(request, done, "Back to code.")
        n = len(done)
        told = ngettext("%(n)d is back to code.", "%(n)d are back to code.", n) % {"n": n}
        return self._told(request, n, told)

    def verbs_for(self, request: HttpRequest, schedule: Schedule) -> dict[str, Promise]:
        """Return the buttons that this user has for `schedule`."""
        verbs = ["resume" if schedule.is_paused else "pause", "run_now"]
        if schedule.code_says is not None:
            verbs.append("back_to_code")
        return {verb: BUTTONS[verb] for verb in verbs if self._may(request, PERMISSION[verb])}

    @property
    def _store(self) -> Store:
        return store_for(router.db_for_write(Schedule))

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
            rows = list(Schedule._base_manager.filter(pk__in=ids).only("name"))
            log_changes(request, rows, entry)

    def _told(self, request: HttpRequest, changed: int, told: str) -> HttpResponseRedirect:
        self.message_user(request, told, messages.SUCCESS if changed else messages.WARNING)
        return self.back(request)


class ScheduleAdmin(ScheduleVerbsMixin, ReadableMixin, AnyModelAdmin):
    """All schedules. Of the ones that code declares, an operator can change the times."""

    form = ScheduleForm
    list_display = ("name", "times", "timezone", "next", "state_word", "last_run", "source")
    list_filter = ("source", "is_paused")
    search_fields = ("name", "target")
    ordering = ("name",)
    change_form_template = "admin/async_attempts/schedule/change_form.html"

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        if obj is not None and obj.source not in OWNED:
            return obj.is_declared and self.has_override_permission(request)
        return super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # A worker would add a declared one again.
        is_over = obj is None or obj.source in OWNED or not obj.is_declared
        return is_over and super().has_delete_permission(request, obj)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        if obj is None:
            return DEFINITION
        may_change = obj.source in OWNED and self.has_change_permission(request, obj)
        # Arguments may be secret: they can be given here, and are never shown.
        definition = [name for name in DEFINITION if may_change or name != "method_args"]
        return [*definition, *SHOWN]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        if obj is not None and obj.source not in OWNED:
            return [*SHOWN, *(name for name in DEFINITION if name not in TIMES)]
        return [*SHOWN, "name"] if obj else SHOWN

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **options: Any
    ) -> Any:
        if obj is not None and obj.source not in OWNED:
            options["form"] = TimesForm
        return super().get_form(request, obj, change, **options)

    def save_model(self, request: HttpRequest, obj: Schedule, form: Any, change: bool) -> None:
        if obj.source in OWNED:
            obj.seal(form.arguments)
            self._store.schedules.put(obj)
        elif form.changed_data:
            times = {"cron": obj.cron or None, "every": obj.every}
            schedules.override(obj.name, database=self._store.database.alias, **times)

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        schedule = context.get("original")
        context |= {
            "verbs": self.verbs_for(request, schedule) if schedule else {},
            "from_page": FROM_PAGE,
        }
        return super().render_change_form(request, context, *args, **kwargs)

    @admin.display(description=_("next run"), ordering="next_tick")
    def next(self, schedule: Schedule) -> SafeString | None:
        return None if schedule.next_tick is None else moment_cell("", schedule.next_tick)

    @admin.display(description=_("times"))
    def times(self, schedule: Schedule) -> str:
        """Return the cron or the interval, and who says so if that isn't code."""
        if schedule.code_says is None:
            return schedule.times
        told = gettext("%(times)s, changed by an operator (code says %(said)s)")
        return told % {"times": schedule.times, "said": schedule.code_says}

    @admin.display(description=_("about"))
    def about(self, schedule: Schedule) -> str | None:
        """Return the object that it is for."""
        if schedule.subject_type is None:
            return None
        return f"{schedule.subject_type} {schedule.subject_id}"

    @admin.display(description=_("state"))
    def state_word(self, schedule: Schedule) -> str:
        """Return a word: active, or the reason why it enqueues nothing."""
        if not schedule.is_declared:
            return gettext("no longer declared in code")
        if schedule.is_paused:
            return gettext("paused")
        if schedule.next_tick is None and schedule.until is not None:
            return gettext("ended")
        is_late = schedule.next_tick and schedule.next_tick < timezone.now() - OVERDUE
        return gettext("overdue") if is_late else gettext("active")

    @admin.display(description=_("last attempt"))
    def last_run(self, schedule: Schedule) -> SafeString | str | None:
        """Return the attempt that it enqueued last."""
        if schedule.last_attempt is None:
            return self.get_empty_value_display()
        model, text = get_attempt_model(), str(schedule.last_attempt)
        return link_to_page(self.admin_site, model, schedule.last_attempt, f"…{text[-12:]}")

    @admin.display(description=_("next runs"))
    def upcoming(self, schedule: Schedule) -> SafeString | str:
        """Return the next five ticks by the schedule's own clock."""
        if schedule.next_tick is None:
            return self.get_empty_value_display()
        try:
            ticks = schedule.when.upcoming(UPCOMING, timezone.now())
        except AttemptsError as error:
            return str(error)
        zone = ZoneInfo(schedule.timezone)
        local = (
            (date_format(tick.astimezone(zone), "DATETIME_FORMAT"), tick.astimezone(zone).tzname())
            for tick in ticks
        )
        return format_html_join(mark_safe("<br>"), "{} {}", local)

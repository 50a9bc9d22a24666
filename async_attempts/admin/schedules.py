"""The schedules: their next ticks, their verbs, and forms for new ones."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar, Final
from zoneinfo import ZoneInfo

from django.contrib import admin
from django.db import router
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from ..exceptions import AttemptsError
from ..models import Schedule, get_attempt_model
from ..store import store_for
from .cells import moment_cell
from .fieldsets import sealed_columns
from .links import link_to_page
from .read_only import AnyModelAdmin, SealedMixin
from .rows import ReadableMixin
from .schedule_forms import ScheduleForm
from .schedule_verbs import ScheduleVerbsMixin
from .selection import FROM_PAGE

UPCOMING: Final = 5
OVERDUE: Final = timedelta(minutes=1)
DEFINITION: Final = "name cron timezone target method_args catch_up overlap queue priority".split()
SHOWN: Final = "state_word upcoming last_run last_tick num_skipped last_skipped source".split()


class ScheduleAdmin(ScheduleVerbsMixin, SealedMixin, ReadableMixin, AnyModelAdmin):
    """All schedules. Those that code declares can be paused here, and changed only in code."""

    form = ScheduleForm
    list_display = ("name", "cron", "timezone", "next", "state_word", "last_run", "source")
    list_filter = ("source", "is_paused")
    search_fields = ("name", "target")
    ordering = ("name",)
    change_form_template = "admin/async_attempts/schedule/change_form.html"

    class Media:
        css: ClassVar = {"all": ("async_attempts/admin.css",)}

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).defer(*sealed_columns(Schedule))

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        is_ours = obj is None or obj.source == Schedule.Source.ADMIN
        return is_ours and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # A worker would add a declared one again.
        is_over = obj is None or obj.source == Schedule.Source.ADMIN or not obj.is_declared
        return is_over and super().has_delete_permission(request, obj)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        if obj is None:
            return DEFINITION
        may_change = self.has_change_permission(request, obj)
        # Arguments may be secret: they can be given here, and are never shown.
        definition = [name for name in DEFINITION if may_change or name != "method_args"]
        return [*definition, *SHOWN]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return [*SHOWN, "name"] if obj else SHOWN

    def save_model(self, request: HttpRequest, obj: Schedule, form: Any, change: bool) -> None:
        obj.seal(form.arguments)
        store_for(router.db_for_write(Schedule)).schedules.put(obj)

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
        """Return the next tick."""
        return None if schedule.next_tick is None else moment_cell("", schedule.next_tick)

    @admin.display(description=_("state"))
    def state_word(self, schedule: Schedule) -> str:
        """Return whether it enqueues, or why not."""
        if not schedule.is_declared:
            return gettext("no longer declared in code")
        if schedule.is_paused:
            return gettext("paused")
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

"""The schedules: their form, their next ticks, and the verbs pause, resume and run now."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Final
from uuid import UUID
from zoneinfo import ZoneInfo

from django import forms
from django.conf import settings as django_settings
from django.contrib import admin, messages
from django.db import router
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.functional import Promise
from django.utils.html import format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.utils.text import capfirst
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from ..conf import settings
from ..exceptions import (
    AttemptsError,
    CipherUnavailable,
    DecryptionError,
    InvalidArguments,
    InvalidTarget,
)
from ..models import Schedule, get_attempt_model
from ..models.schedule import DEFINITION as DECLARED
from ..payload import Arguments
from ..store import Store, store_for
from ..targets.declared_schedule import DeclaredSchedule
from .display import link_to_page, moment_cell
from .pages import FROM_PAGE, AnyModelAdmin, ReadableMixin, SelectingMixin, log_changes

if TYPE_CHECKING:
    _Form = forms.ModelForm[Schedule]
else:
    # Django's class takes no type parameters when it is run.
    _Form = forms.ModelForm

PERMISSION: Final = {"pause": "pause", "resume": "pause", "run_now": "enqueue"}

BUTTONS: Final = {"pause": _("Pause"), "resume": _("Resume"), "run_now": _("Run now")}

UPCOMING: Final = 5

OVERDUE: Final = timedelta(minutes=1)

DEFINITION: Final = "name cron timezone target method_args catch_up overlap queue priority".split()

SHOWN: Final = "state_word upcoming last_run last_tick num_skipped last_skipped source".split()


class ArgumentsField(forms.JSONField):
    """A JSON field that begins empty, not with "null": stored arguments are never shown."""

    def prepare_value(self, value: Any) -> Any:
        return "" if value is None else super().prepare_value(value)


class ScheduleForm(_Form):
    """The declaration of a schedule."""

    method_args = ArgumentsField(
        label=capfirst(_("arguments")),
        required=False,
        help_text=_(
            "JSON: an object of keyword arguments or a list of positional ones. They are stored "
            "encrypted and not shown again; left empty, they stay as they are, unless the target "
            "is changed."
        ),
    )
    queue = forms.ChoiceField(label=capfirst(_("queue")), required=False)

    arguments: Arguments

    class Meta:
        model = Schedule
        fields = ("name", *DECLARED)
        help_texts: ClassVar = {
            "cron": _("Minute, hour, day, month, day of week and, if wanted, second."),
            "timezone": _("Such as Europe/Berlin."),
            "target": _("The dotted name of an attemptable function."),
            "priority": _("-100 to 100, higher first; by default as the target says."),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "timezone" in self.fields:
            self.fields["timezone"].initial = django_settings.TIME_ZONE
        if isinstance(queue := self.fields.get("queue"), forms.ChoiceField):
            queue.choices = [("", _("as the target says")), *((q, q) for q in settings().QUEUES)]

    def clean_queue(self) -> str | None:
        return self.cleaned_data["queue"] or None

    def clean(self) -> dict[str, Any]:
        given = super().clean() or self.cleaned_data
        if self.errors:
            return given
        try:
            self.arguments = self._arguments(given)
            self._declared(given).require_enqueueable()
        except (DecryptionError, CipherUnavailable, InvalidArguments) as error:
            self.add_error("method_args", str(error))
        except InvalidTarget as error:
            self.add_error("target", str(error))
        except AttemptsError as error:
            part, _colon, text = str(error).partition(": ")
            self.add_error(part if part in self.fields else None, text or str(error))
        return given

    def _arguments(self, given: dict[str, Any]) -> Arguments:
        if given.get("method_args") is not None or self.instance._state.adding:
            return Arguments.of(given.get("method_args"))
        # Read before the form changes the target that they are bound to.
        kept = self.instance.arguments
        if kept != Arguments() and given.get("target") != self.instance.target:
            # Else a person who can't read them could send them to a target of their own.
            raise InvalidArguments(
                gettext("The arguments are another target's: give those of this one, {} for none.")
            )
        return kept

    def _declared(self, given: dict[str, Any]) -> DeclaredSchedule:
        options = {option: given[option] for option in DECLARED}
        name = given.get("name") or self.instance.name
        source = Schedule.Source.ADMIN
        return DeclaredSchedule(name=name, arguments=self.arguments, source=source, **options)


class ScheduleVerbsMixin(SelectingMixin):
    """The verbs, for all schedules, however they were declared."""

    actions: Sequence[str] = ("pause", "resume", "run_now")

    def has_pause_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(f"{self.opts.app_label}.pause_schedule")

    def has_enqueue_permission(self, request: HttpRequest) -> bool:
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

    def verbs_for(self, request: HttpRequest, schedule: Schedule) -> dict[str, Promise]:
        """Return the buttons that this user has for `schedule`."""
        verbs = ("resume" if schedule.is_paused else "pause", "run_now")
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
            schedules = list(Schedule._base_manager.filter(pk__in=ids).only("name"))
            log_changes(request, schedules, entry)

    def _told(self, request: HttpRequest, changed: int, told: str) -> HttpResponseRedirect:
        self.message_user(request, told, messages.SUCCESS if changed else messages.WARNING)
        return self.back(request)


class ScheduleAdmin(ScheduleVerbsMixin, ReadableMixin, AnyModelAdmin):
    """All schedules. The ones that code declares can be paused here, and changed only in code."""

    form = ScheduleForm
    list_display = ("name", "cron", "timezone", "next", "state_word", "last_run", "source")
    list_filter = ("source", "is_paused")
    search_fields = ("name", "target")
    ordering = ("name",)
    change_form_template = "admin/async_attempts/schedule/change_form.html"

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
        return None if schedule.next_tick is None else moment_cell("", schedule.next_tick)

    @admin.display(description=_("state"))
    def state_word(self, schedule: Schedule) -> str:
        """Return a word: active, or the reason why it enqueues nothing."""
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

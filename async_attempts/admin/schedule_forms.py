"""The forms of schedules: of one that a person makes, and of the times of one of code's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from django import forms
from django.conf import settings as django_settings
from django.utils.text import capfirst
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from ..conf import settings
from ..cron import Cron
from ..exceptions import (
    AttemptsError,
    CipherUnavailable,
    DecryptionError,
    InvalidArguments,
    InvalidTarget,
)
from ..intervals import interval_of, require_one
from ..models import Schedule
from ..models.schedule import DEFINITION as DECLARED
from ..payload import Arguments
from ..schedules import declaration_of, require_enqueueable
from ..targets.declared_schedule import DeclaredSchedule
from ..targets.schedule_options import OPTIONS

if TYPE_CHECKING:
    _Form = forms.ModelForm[Schedule]
else:
    # Django's class takes no type parameters when it is run.
    _Form = forms.ModelForm

TIMES: Final = ("cron", "every")

HELP: Final = {
    "cron": _("Minute, hour, day, month, day of week and, if wanted, second."),
    "every": _("In place of a cron: hours, minutes and seconds, such as 1:30:00."),
}


class EmptyJSONField(forms.JSONField):
    """A JSON field that begins empty, not with "null": stored arguments are never shown."""

    def prepare_value(self, value: Any) -> Any:
        return "" if value is None else super().prepare_value(value)


class ScheduleForm(_Form):
    """The declaration of a schedule."""

    method_args = EmptyJSONField(
        label=capfirst(_("arguments")),
        required=False,
        help_text=_(
            "JSON: an object of keyword arguments or a list of positional ones. They are stored "
            "encrypted and not shown again; left empty, they stay as they are, unless the target "
            "is changed."
        ),
    )
    options = EmptyJSONField(
        label=capfirst(_("options of its attempts")),
        required=False,
        help_text=_('JSON, such as {"timeout": 60, "max_attempts": 3, "expires": "next tick"}.'),
    )
    queue = forms.ChoiceField(label=capfirst(_("queue")), required=False)

    arguments: Arguments

    class Meta:
        model = Schedule
        fields = ("name", *DECLARED, "until")
        help_texts: ClassVar = {
            **HELP,
            "timezone": _("Such as Europe/Berlin."),
            "target": _("The dotted name of an attemptable function."),
            "priority": _("-100 to 100, higher first; by default as the target says."),
            "until": _("No run comes after this moment."),
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
            require_enqueueable(self._declared(given))
        except (DecryptionError, CipherUnavailable, InvalidArguments) as error:
            self.add_error("method_args", str(error))
        except InvalidTarget as error:
            self.add_error("target", str(error))
        except AttemptsError as error:
            part, _colon, text = str(error).partition(": ")
            if part.partition("[")[0] in ("options", *OPTIONS):
                self.add_error("options", str(error))
            else:
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
        options["options"] = given["options"] or {}
        name = given.get("name") or self.instance.name
        source = Schedule.Source.ADMIN
        return DeclaredSchedule(name=name, arguments=self.arguments, source=source, **options)


class TimesForm(_Form):
    """The times of a schedule that code declares, as an operator wants them."""

    class Meta:
        model = Schedule
        fields = TIMES
        help_texts: ClassVar = HELP

    def clean(self) -> dict[str, Any]:
        given = super().clean() or self.cleaned_data
        if self.errors:
            return given
        try:
            require_one(given["cron"] or None, given["every"])
            if given["every"] is not None:
                interval_of(given["every"])
            else:
                Cron(given["cron"], self.instance.timezone)
            declaration_of(self.instance.name)
        except AttemptsError as error:
            part, _colon, text = str(error).partition(": ")
            self.add_error(part if part in self.fields else None, text or str(error))
        return given

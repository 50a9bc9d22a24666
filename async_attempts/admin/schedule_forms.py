"""The form that adds or changes a schedule; each error is at its field."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from django import forms
from django.conf import settings as django_settings
from django.utils.text import capfirst
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from ..conf import settings
from ..exceptions import (
    AttemptsError,
    CipherUnavailable,
    DecryptionError,
    InvalidArguments,
    InvalidTarget,
)
from ..models import Schedule
from ..payload import Arguments
from ..targets.declared import Declared

if TYPE_CHECKING:
    _Form = forms.ModelForm[Schedule]
else:
    # Django's class takes no type parameters when it is run.
    _Form = forms.ModelForm

DECLARED: Final = "cron timezone target catch_up overlap priority".split()


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
        fields = ("name", "cron", "timezone", "target", "catch_up", "overlap", "queue", "priority")
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

    def _declared(self, given: dict[str, Any]) -> Declared:
        options = {option: given[option] for option in DECLARED}
        name = given.get("name") or self.instance.name
        return Declared(
            name=name,
            arguments=self.arguments,
            queue=given["queue"],
            source=Schedule.Source.ADMIN,
            **options,
        )

"""What a person does in the admin: log in with a role, select rows, answer the confirmation."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any, Final
from uuid import uuid4

from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from async_attempts import Attempt, call
from tests.shop import clients

LIST: Final = "/admin/async_attempts/attempt/"


class OneDatabase:
    """Django's routers lead everything to the database under test."""

    def __init__(self, alias: str) -> None:
        self.alias = alias

    def db_for_read(self, model: Any, **hints: Any) -> str:
        return self.alias

    db_for_write = db_for_read


def person(*codenames: str) -> User:
    """A member of staff with these permissions."""
    user = User.objects.create_user(f"person-{uuid4()}", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    return user


def logged_in(*codenames: str, **options: Any) -> Client:
    client = Client(**options)
    client.force_login(person(*codenames))
    return client


def operator() -> Client:
    """Somebody who may do all that there is."""
    client = Client()
    client.force_login(User.objects.create_superuser(f"operator-{uuid4()}"))
    return client


def attempt_in(state: str, **columns: Any) -> Any:
    """An attempt that the database holds in this state."""
    attempt = call(clients.send_welcome, 7).enqueue()
    rows = Attempt.objects.filter(pk=attempt.pk)
    if state == "running":
        columns |= {"claimed_by": uuid4(), "num_attempts": 1, "started_at": attempt.created_at}
    elif state in ("succeeded", "failed", "expired"):
        columns |= {"status": state, "completed_at": attempt.created_at}
    else:
        columns |= {"status": state}
    rows.update(**columns)
    return rows.get()


def page_of(attempt: Any) -> str:
    return reverse("admin:async_attempts_attempt_change", args=[attempt.pk])


def select(client: Client, verb: str, *attempts: Any, path: str = LIST, **more: Any) -> Any:
    """Choose an action for the rows that are ticked."""
    ticked = [str(attempt.pk) for attempt in attempts]
    data = {"action": verb, "index": "0", "_selected_action": ticked, **more}
    return client.post(path, data)


def confirm(client: Client, question: Any, reason: str = "a duplicate", **answers: Any) -> Any:
    """Send the form of a confirmation page with this reason, and these answers."""
    hidden = _HiddenInputs()
    hidden.feed(question.content.decode())
    data = hidden.values | {"reason": reason, **answers}
    return client.post(question.wsgi_request.get_full_path(), data)


def said(client: Client, response: Any) -> list[str]:
    """The messages on the page that `response` leads to."""
    page = client.get(response.url) if response.status_code == 302 else response
    return [str(message) for message in page.context["messages"]]


class _HiddenInputs(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.values: dict[str, list[str]] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        name = found.get("name")
        if tag == "input" and found.get("type") == "hidden" and name:
            self.values.setdefault(name, []).append(found.get("value") or "")

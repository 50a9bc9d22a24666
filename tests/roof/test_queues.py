"""Queues for operators: listed, paused and resumed in the terminal and in the admin."""

from __future__ import annotations

import pytest
from django.contrib.admin.models import LogEntry
from django.core.management import CommandError, call_command

from async_attempts import InvalidOption, call, enqueue_many, pause_queue, resume_queue
from async_attempts.models import Queue
from async_attempts.store import store_for
from tests.roof.admin_pages import logged_in, operator, said, select
from tests.shop import clients

LIST = "/admin/async_attempts/queue/"


def act(client, verb, *names):
    """Choose an action for the queues that are ticked."""
    return select(client, verb, *(Queue(name=name) for name in names), path=LIST)


@pytest.fixture
def limited(settings, db):
    queues = {
        "default": {},
        "emails": {"concurrency": 2, "rate": "100/m", "burst": 5, "max_pending": 9},
        "slow": {"paused": True},
    }
    settings.ASYNC_ATTEMPTS = settings.ASYNC_ATTEMPTS | {"QUEUES": queues}
    store_for("default").queues.declare(queues)


def listed(capsys):
    call_command("attempts", "queues")
    return [line.split(maxsplit=3) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.usefixtures("limited")
def test_the_terminal_lists_them(capsys):
    enqueue_many([call(clients.send_welcome, n) for n in range(3)])
    assert listed(capsys) == [
        ["QUEUE", "STATE", "PENDING", "LIMITS"],
        ["default", "active", "3", "-"],
        ["emails", "active", "0", "2 at once; 100/m, burst 5; at most 9 pending"],
        ["slow", "paused", "0", "-"],
    ]


@pytest.mark.usefixtures("limited")
def test_the_terminal_pauses_and_resumes(capsys):
    call_command("attempts", "queues", pause="emails")
    call_command("attempts", "queues", resume="slow")
    assert capsys.readouterr().out == "emails: paused.\nslow: resumed.\n"
    assert [line[1] for line in listed(capsys)] == ["STATE", "active", "paused", "active"]


def test_code_pauses_where_attempts_go_to(at_home):
    pause_queue("emails")
    assert store_for(at_home).claims.look(()).paused == {"emails"}
    resume_queue("emails")
    assert not store_for(at_home).claims.look(()).paused


@pytest.mark.usefixtures("limited")
def test_an_unknown_queue_is_refused(capsys):
    with pytest.raises(CommandError, match="--pause: queue: 'email' is not declared") as refused:
        call_command("attempts", "queues", pause="email")
    assert refused.value.returncode == 2
    with pytest.raises(InvalidOption, match="did you mean 'emails'"):
        pause_queue("email")


@pytest.mark.usefixtures("limited")
def test_the_admin_pauses_and_resumes():
    client = operator()
    page = client.get(LIST).content.decode()
    assert "2 at once; 100/m, burst 5; at most 9 pending" in page
    assert said(client, act(client, "pause", "emails", "slow")) == ["1 queue paused."]
    assert Queue._base_manager.get(pk="emails").is_paused
    assert said(client, act(client, "resume", "emails", "slow")) == ["2 queues resumed."]
    assert {queue.pk: queue.is_paused for queue in Queue._base_manager.all()} == {
        "default": None, "emails": None, "slow": False,
    }  # fmt: skip
    assert LogEntry.objects.count() == 3
    assert said(client, act(client, "resume", "emails")) == ["0 queues resumed."]


@pytest.mark.usefixtures("limited")
def test_who_may_only_look_cannot_pause():
    client = logged_in("view_queue")
    assert client.get(LIST).status_code == 200
    assert "Pause" not in client.get(LIST).content.decode()
    act(client, "pause", "emails")
    assert not Queue._base_manager.get(pk="emails").is_paused


@pytest.mark.usefixtures("limited")
def test_what_is_no_longer_declared_says_so(settings):
    settings.ASYNC_ATTEMPTS = settings.ASYNC_ATTEMPTS | {"QUEUES": {"default": {}}}
    assert "no longer declared" in operator().get(LIST).content.decode()

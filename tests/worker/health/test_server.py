"""A worker's health by HTTP, from a real process beside a supervisor that only has vital signs."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import Any

import psutil
import pytest

from async_attempts.exceptions import InvalidOption
from async_attempts.worker.health import server
from tests.worker.helpers.monitors import start
from tests.worker.helpers.processes import until

__all__ = ["start"]


def test_alive_while_every_child_ticks(start):
    monitor = start(LEASE=20)
    monitor.status.show(ticks=(19, 0))
    alive = monitor.ask("/livez")
    assert (alive.status, alive.text) == (200, "ok")
    monitor.status.show(ticks=(0, 31))
    dead = monitor.ask("/livez")
    assert (dead.status, dead.text) == (503, "child 1 has not ticked for 31 s")


def test_alive_while_it_stops_though_nothing_ticks(start):
    monitor = start(LEASE=20)
    monitor.status.show(ticks=(100, 100), stopping=True)
    assert monitor.ask("/livez").status == 200


def test_ready_on_its_database(database, start):
    monitor = start(database)
    ready = monitor.ask("/readyz")
    assert (ready.status, ready.text) == (200, "ok"), monitor.supervisor.output


def test_asking_leaves_no_connection_behind(database, start):
    monitor = start(database)
    before = psutil.Process(monitor.pid).num_fds()
    for _ in range(3):
        assert monitor.ask("/readyz").status == 200
    until(lambda: psutil.Process(monitor.pid).num_fds() <= before, monitor.supervisor)


def test_not_ready_while_it_stops(start):
    monitor = start()
    monitor.status.show(stopping=True)
    answer = monitor.ask("/readyz")
    assert (answer.status, answer.text) == (503, "stopping")


def test_not_ready_when_its_lease_is_overdue(start):
    monitor = start(LEASE=20)
    monitor.status.show(lease=21)
    answer = monitor.ask("/readyz")
    assert (answer.status, answer.text) == (503, "the lease was not renewed for 21 s")


def test_not_ready_on_a_database_without_our_tables(database, start, tmp_path):
    empty = {"default": str(tmp_path / "empty.sqlite3"), "postgresql": "postgres"}
    monitor = start(database, {"NAME": empty.get(database, "mysql")})
    answer = monitor.ask("/readyz")
    assert answer.status == 503
    assert f"manage.py migrate --database {database}" in answer.text
    assert monitor.ask("/livez").status == 200


@pytest.mark.only("postgresql", "mariadb", reason="SQLite has no server")
def test_a_database_that_refuses_is_told_without_its_address(database, start):
    monitor = start(database, {"HOST": "127.0.0.1", "PORT": "1"})
    answer = monitor.ask("/readyz")
    assert (answer.status, answer.text) == (503, f"the database {database!r} can't be reached")


@pytest.mark.only("postgresql", "mariadb", reason="SQLite has no server")
def test_a_database_that_never_answers_is_given_up(database, start):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        place = {"HOST": "127.0.0.1", "PORT": str(silent.getsockname()[1])}
        monitor = start(database, place, deadline=60.0)
        with monitor.client(b"GET /readyz HTTP/1.0\r\n\r\n") as asking:
            reached, _ = silent.accept()
            with reached:
                assert monitor.ask("/livez").status == 200
                assert b" 503 " in asking.recv(100)


def exposition() -> str:
    """What METRICS may give."""
    return "shop_orders 3"


def raising() -> str:
    raise LookupError("a secret")


def hanging() -> str:
    threading.Event().wait()
    return ""


def number() -> int:
    return 3


def test_its_figures_and_then_the_projects(start):
    monitor = start(METRICS=f"{__name__}.exposition")
    monitor.status.show(ticks=(0.5, 1.25), lease=float("inf"), performed=12_345_678, in_flight=9)
    answer = monitor.ask("/metrics")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    samples = [line for line in answer.text.splitlines() if not line.startswith("#")]
    assert samples == [
        "async_attempts_worker_performed_total 12345678",
        "async_attempts_worker_in_flight 9",
        'async_attempts_worker_tick_age_seconds{child="0"} 0.5',
        'async_attempts_worker_tick_age_seconds{child="1"} 1.25',
        "async_attempts_worker_lease_age_seconds +Inf",
        'async_attempts_worker_missing_key_total{key="1a2b3c4d"} 3',
        r'async_attempts_worker_missing_key_total{key="a\"b\\c\nd"} 1',
        "shop_orders 3",
    ]
    assert answer.text.endswith("3\n")
    typed = {line.split()[2] for line in answer.text.splitlines() if line.startswith("# TYPE")}
    assert typed == {sample.split("{")[0].split()[0] for sample in samples[:-1]}


@pytest.mark.parametrize(
    ("hook", "told"),
    [("raising", "METRICS raised LookupError"), ("number", "METRICS returned int, not str")],
)
def test_a_hook_that_fails_is_told_by_its_class(start, hook, told):
    monitor = start(METRICS=f"{__name__}.{hook}")
    answer = monitor.ask("/metrics")
    assert (answer.status, answer.text) == (500, told)
    assert told in monitor.supervisor.output
    assert "a secret" not in monitor.supervisor.output
    assert monitor.ask("/livez").status == 200


def test_a_hook_that_hangs_leaves_room_for_the_rest(start):
    monitor = start(METRICS=f"{__name__}.hanging")
    with ExitStack() as clients:
        for _ in range(2 * server.MAX_CLIENTS):
            clients.enter_context(monitor.client(b"GET /metrics HTTP/1.0\r\n\r\n"))
        until(monitor.answers, monitor.supervisor)
    assert monitor.ask("/readyz").status == 200


def test_a_head_without_text(start):
    answer = start().ask("/livez", "HEAD")
    assert (answer.status, answer.text, answer.headers["Content-Length"]) == (200, "", "2")


@pytest.mark.parametrize("path", ["/", "/livez/", "/healthz", "/../livez"])
def test_nothing_else_is_there(start, path):
    assert start().ask(path).status == 404


def test_a_query_changes_nothing(start):
    assert start().ask("/livez?verbose=1").status == 200


def test_nothing_can_be_sent(start):
    assert start().ask("/livez", "POST").status == 501


def test_it_tells_nobody_what_it_runs_on(start):
    assert start().ask("/livez").headers["Server"] == "async_attempts"


def test_requests_are_not_logged(start):
    monitor = start()
    assert monitor.ask("/livez").status == 200
    assert "livez" not in monitor.supervisor.output


def test_slow_clients_hold_nobody_up_for_long(start):
    monitor = start()
    many = 2 * server.MAX_CLIENTS
    with ExitStack() as clients:
        slow = [clients.enter_context(monitor.client(b"GET /live")) for _ in range(many)]
        until(monitor.answers, monitor.supervisor)
        for client in slow:
            with suppress(ConnectionResetError):
                assert client.recv(1) == b""


@pytest.mark.parametrize("sent", [b"", b"GET /live"], ids=["silent", "slow"])
def test_beyond_its_limit_the_oldest_client_makes_room(start, sent):
    monitor = start(deadline=60.0)
    with ExitStack() as clients:
        idle = [clients.enter_context(monitor.client(sent)) for _ in range(server.MAX_CLIENTS)]
        assert monitor.ask("/livez").status == 200
        assert idle[0].recv(1) == b""
        idle[1].settimeout(0.5)
        with pytest.raises(TimeoutError):
            idle[1].recv(1)


@pytest.mark.only("postgresql", "mariadb", reason="SQLite has no server")
def test_a_client_that_waits_for_its_answer_does_not_make_room(database, start):
    with ExitStack() as clients:
        silent = clients.enter_context(socket.create_server(("127.0.0.1", 0)))
        place = {"HOST": "127.0.0.1", "PORT": str(silent.getsockname()[1])}
        monitor = start(database, place, deadline=60.0)
        asking = clients.enter_context(monitor.client(b"GET /readyz HTTP/1.0\r\n\r\n"))
        clients.enter_context(silent.accept()[0])
        for _ in range(2 * server.MAX_CLIENTS):
            clients.enter_context(monitor.client(b""))
        assert monitor.ask("/livez").status == 200
        assert b" 503 " in asking.recv(100)


@pytest.mark.only("postgresql", "mariadb", reason="SQLite has no server")
def test_those_who_wait_for_an_answer_leave_room_for_livez(database, start):
    with ExitStack() as clients:
        silent = clients.enter_context(socket.create_server(("127.0.0.1", 0)))
        place = {"HOST": "127.0.0.1", "PORT": str(silent.getsockname()[1])}
        monitor = start(database, place, deadline=60.0, METRICS=f"{__name__}.hanging")
        for _ in range(server.MAX_CLIENTS):
            for path in (b"readyz", b"metrics"):
                request = b"GET /" + path + b" HTTP/1.0\r\n\r\n"
                clients.enter_context(monitor.client(request))
        for _ in range(3):
            assert monitor.ask("/livez").status == 200


@pytest.mark.only("postgresql", "mariadb", reason="SQLite has no server")
def test_the_database_is_asked_once_a_second_however_often_it_is_asked(database, start):
    with socket.create_server(("127.0.0.1", 0)) as closing:
        closing.settimeout(0.5)
        place = {"HOST": "127.0.0.1", "PORT": str(closing.getsockname()[1])}
        monitor = start(database, place)
        with ThreadPoolExecutor(1) as thread:
            asked = thread.submit(refused, closing)
            began = time.monotonic()
            answers = {monitor.ask("/readyz").status for _ in range(40)}
            seconds = time.monotonic() - began
            # Some drivers try once more.
            assert asked.result() <= 2 * (1 + seconds)
    assert answers == {503}


def refused(server: socket.socket) -> int:
    """How many sessions were asked for, until half a second passed without one."""
    count = 0
    with suppress(TimeoutError):
        while True:
            server.accept()[0].close()
            count += 1
    return count


@pytest.mark.parametrize(("host", "address"), [("", "::"), ("127.0.0.1", "127.0.0.1")])
def test_it_listens_where_it_is_told_to(start, host, address):
    monitor = start(host=host)
    assert monitor.host == address
    assert monitor.ask("/livez").status == 200


def test_a_client_that_drips_is_cut_off(start):
    monitor = start()
    with monitor.client(b"GET /live") as client:
        until(lambda: cut_off(client), monitor.supervisor)


def cut_off(client: socket.socket) -> bool:
    """Whether nobody takes one more byte from it."""
    try:
        client.sendall(b"z")
    except OSError:
        return True
    return False


def test_signals_for_the_supervisor_do_not_end_it(start):
    monitor = start()
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1):
        os.kill(monitor.pid, number)
    assert monitor.ask("/livez").status == 200


def test_sigterm_ends_it(start):
    monitor = start()
    os.kill(monitor.pid, signal.SIGTERM)
    assert monitor.supervisor.exit_code() == signal.SIGTERM


def test_it_ends_when_its_supervisor_is_killed(start):
    monitor = start()
    monitor.supervisor.kill()
    until(lambda: not monitor.answers())


def test_it_ends_with_its_supervisor_where_no_kernel_sees_to_it(start):
    monitor = start(kernel=False)
    monitor.supervisor.kill()
    until(lambda: not monitor.answers())


NOT_ASKED: Any = None
"""The vital signs, of which nothing is read before anything is forked."""


@pytest.mark.parametrize("host", ["", "127.0.0.1"])
def test_a_port_in_use_is_refused_before_anything_is_forked(host):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InvalidOption, match=rf"--health-port.*{port}.*in use.*free port"):
            server.start(port, NOT_ASKED, database="default", host=host)


@pytest.mark.parametrize(
    ("port", "host", "remedy"),
    [
        (65_536, "", "choose a free port"),
        (8000, "no host of this name", "--health-host takes an address of this machine"),
        (8000, "192.0.2.1", "--health-host takes an address of this machine"),
        (8000, "a..b", "--health-host takes an address of this machine"),
        (8000, "a" * 70, "--health-host takes an address of this machine"),
    ],
)
def test_where_nobody_can_listen_is_refused(port, host, remedy):
    with pytest.raises(InvalidOption, match=f"--health-port: .*{remedy}"):
        server.start(port, NOT_ASKED, database="default", host=host)

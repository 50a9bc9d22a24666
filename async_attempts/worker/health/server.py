"""Serves a worker's health by HTTP: `/livez`, `/readyz` and `/metrics`, in a process of its own.

Neither a target that keeps the interpreter busy nor a database that doesn't answer holds up
`/livez`: a worker is only to be killed for what its own loops do.
"""

from __future__ import annotations

import errno
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, NoReturn

from django.db import connections

from ...exceptions import InvalidOption
from ..shared.connections import IMPATIENT
from ..shared.fork import die_with_parent
from .probes import Answer, WorkerStatus, livez, metrics, readyz
from .readiness import Readiness

logger = logging.getLogger("async_attempts")

PATIENCE: Final = 2
"""Seconds that a database may take to answer, and a question may wait for an earlier one."""
DEADLINE: float = 5.0
"""Seconds after which a client is cut off."""
MAX_CLIENTS: Final = 16
MAX_WAITING: Final = 4
"""Requests for one path that wait for an earlier one; more are answered at once, by 503."""

PORTS: Final = range(65_536)
OF_PORT: Final = (errno.EADDRINUSE, errno.EACCES)
"""Errors that another port mends."""
PATHS: Final = ("/livez", "/readyz", "/metrics")
IGNORED: Final = (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1)
"""Signals for the supervisor, which a terminal sends to the whole group."""


def start(port: int, status: WorkerStatus, *, database: str, host: str = "") -> int:
    """Fork the process that answers on `port`, and return its id.

    `database`: the alias that `/readyz` asks for. `host` "" is every address of the machine. The
    caller must have one thread. The process ends with its parent, or by SIGTERM.

    Raises InvalidOption, before the fork, if it can't listen there.
    """
    supervisor = os.getpid()
    with _listener(port, host) as listener:
        # A signal that came between the fork and the child's own handlers would be lost on it.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            pid = os.fork()
            if pid == 0:
                _serve(listener, status, database, supervisor)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    return pid


def _listener(port: int, host: str) -> socket.socket:
    try:
        if port not in PORTS:
            raise OverflowError("no such port")
        if not host and socket.has_dualstack_ipv6():
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        remedy = (
            "choose a free port, one for each worker of a machine"
            if not host or getattr(error, "errno", None) in OF_PORT
            else "--health-host takes an address of this machine"
        )
        raise InvalidOption(
            f"--health-port: can't listen on {host or 'any address'}, port {port}: {reason}; "
            f"{remedy}."
        ) from error


def _serve(
    listener: socket.socket, status: WorkerStatus, database: str, supervisor: int
) -> NoReturn:
    """Serve until the end of the forked process, with none of its parent's signal handlers."""
    try:
        _end_with(supervisor)
        signal.set_wakeup_fd(-1)
        for number in IGNORED:
            signal.signal(number, signal.SIG_IGN)
        for number in (signal.SIGTERM, signal.SIGCHLD, signal.SIGALRM):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        _hurry(database)
        Server(listener, status, database, supervisor).serve_forever()
    except BaseException as error:
        logger.critical("health: ended by %s", type(error).__name__)
    finally:
        os._exit(1)


def _end_with(parent: int) -> None:
    """Have this process killed when `parent` has died."""
    die_with_parent(signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


def _hurry(database: str) -> None:
    """Let this process ask by connections of its own, of no pool, that soon give up."""
    vendor = connections[database].vendor
    given = connections.databases[database]
    options = {**given.get("OPTIONS", {}), **IMPATIENT.get(vendor, {})}
    options.pop("pool", None)
    given["OPTIONS"] = options


class Handler(BaseHTTPRequestHandler):
    """An HTTP request."""

    server: Server
    timeout = PATIENCE

    def do_GET(self) -> None:
        """Answer with head and text."""
        self._respond(with_text=True)

    def do_HEAD(self) -> None:
        """Answer with the head alone."""
        self._respond(with_text=False)

    def _respond(self, *, with_text: bool) -> None:
        answer = self.server.answer(self.path.partition("?")[0], self.request)
        content = answer.text.encode()
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.media_type)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if with_text:
            self.wfile.write(content)

    def version_string(self) -> str:
        """Return the name for the `Server` header, without the version of Python."""
        return "async_attempts"

    def log_message(self, template: str, *args: object) -> None:
        """Log nothing: a probe every few seconds is no news."""
        logger.debug("health: %r", template % args)


class Turns:
    """A queue for a question that may take long: one thread asks, few wait, others are refused.

    So threads that hang in a database or in METRICS leave room for `/livez`.
    """

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._room = threading.BoundedSemaphore(1 + MAX_WAITING)

    @contextmanager
    def take(self) -> Iterator[bool]:
        """True while it is this thread's turn; False if that doesn't come within PATIENCE s."""
        if not self._room.acquire(blocking=False):
            yield False
            return
        try:
            has_turn = self._turn.acquire(timeout=PATIENCE)
            try:
                yield has_turn
            finally:
                if has_turn:
                    self._turn.release()
        finally:
            self._room.release()


class Server(ThreadingHTTPServer):
    """A thread for each of at most MAX_CLIENTS, each cut off after DEADLINE seconds.

    Beyond MAX_CLIENTS the one that has been waited for longest, to send its request or to take its
    answer, is cut off for the new one.
    """

    def __init__(
        self, listener: socket.socket, status: WorkerStatus, database: str, supervisor: int
    ) -> None:
        super().__init__(listener.getsockname()[:2], Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.status = status
        self.readiness = Readiness(database)
        self.supervisor = supervisor
        self._turns = {path: Turns() for path in PATHS[1:]}
        # The oldest first. A client is shut down under the lock, so that it is still open.
        self._clients: dict[Any, float] = {}
        self._asking: set[Any] = set()
        self._lock = threading.Lock()

    def answer(self, path: str, client: Any) -> Answer:
        """The answer to a request of `client` for `path`."""
        if path == "/livez":
            return livez(self.status)
        if path not in self._turns:
            return Answer(404, f"there are {', '.join(PATHS)}")
        self._asking.add(client)
        try:
            with self._turns[path].take() as has_turn:
                if not has_turn:
                    return Answer(503, "an earlier question is still without an answer")
                return self._ask(path)
        finally:
            self._asking.discard(client)

    def _ask(self, path: str) -> Answer:
        try:
            if path == "/metrics":
                return metrics(self.status)
            return readyz(self.status, self.readiness)
        except Exception as error:
            logger.error("health: %s raised %s", path, type(error).__name__)
            return Answer(500, f"{path} raised {type(error).__name__}")
        finally:
            with suppress(Exception):
                connections.close_all()

    def service_actions(self) -> None:
        """End with the supervisor, and cut off the slow; called twice a second."""
        if os.getppid() != self.supervisor:
            os._exit(0)
        for client, since in list(self._clients.items()):
            if time.monotonic() - since > DEADLINE:
                self._cut_off(client)

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Make room for it: the oldest client that keeps us waiting is cut off."""
        if len(self._clients) < MAX_CLIENTS:
            return True
        idle = next((each for each in list(self._clients) if each not in self._asking), None)
        if idle is None:
            return False
        self._cut_off(idle)
        self._clients.pop(idle, None)
        return True

    def _cut_off(self, client: Any) -> None:
        with self._lock, suppress(OSError):
            if client in self._clients:
                client.shutdown(socket.SHUT_RDWR)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Note since when it is served."""
        self._clients[request] = time.monotonic()
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Forget the client."""
        with self._lock:
            self._clients.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log a line for debugging: a client that has gone is no news either."""
        logger.debug("health: %s", type(sys.exc_info()[1]).__name__)

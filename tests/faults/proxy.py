"""A proxy between a worker and its database that cuts, keeps silent, or slows down."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, Self

from django.db import connections

from .wire import PROTOCOLS, Conversation

CHUNK: Final = 65536


class Trap:
    """Waits for the `nth` statement that matches, and springs once: before or after it is done.

    `following`: only statements of connections that have said something like this before.

    `spring` is called then (by default nothing), and the connection is cut. Before: the server
    never hears of the statement. After: it has done it, and the client never hears.
    """

    def __init__(
        self, pattern: str, following: str, nth: int, spring: Callable[[], object], is_after: bool
    ) -> None:
        self._pattern = re.compile(pattern, re.IGNORECASE | re.DOTALL)
        self._following = re.compile(following, re.IGNORECASE | re.DOTALL)
        self._left = nth
        self._spring = spring
        self._ready: set[Link] = set()
        self._lock = threading.Lock()
        self.is_after = is_after
        self.sprung = threading.Event()

    def catches(self, statement: str, link: Link) -> bool:
        """Whether this is the statement that it waits for."""
        if not statement:
            return False
        with self._lock:
            was_ready = link in self._ready or not self._following.pattern
            if self._following.search(statement):
                self._ready.add(link)
            if not was_ready or not self._pattern.search(statement):
                return False
            self._left -= 1
            return self._left == 0

    def spring(self) -> None:
        self._spring()
        self.sprung.set()


class Link:
    """One client's connection and ours to the server."""

    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy = proxy
        self._sockets = (client, server)
        self._conversation: Conversation = PROTOCOLS[proxy.vendor]()
        self._caught: Trap | None = None
        self._threads = [
            threading.Thread(target=self._run, args=(work,), daemon=True)
            for work in (self._listen_to_client, self._listen_to_server)
        ]
        for thread in self._threads:
            thread.start()

    def cut(self) -> None:
        """End both halves; who waits in them wakes up."""
        for half in self._sockets:
            with suppress(OSError):
                half.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.cut()
        for thread in self._threads:
            thread.join()
        for half in self._sockets:
            half.close()

    def _run(self, work: Callable[[socket.socket, socket.socket], None]) -> None:
        with suppress(OSError):
            work(*self._sockets)
        self.cut()

    def _listen_to_client(self, client: socket.socket, server: socket.socket) -> None:
        while data := client.recv(CHUNK):
            for message, statement in self._conversation.asked(data):
                self._proxy.pass_by()
                refusal = self._conversation.refused(message)
                if refusal is not None:
                    client.sendall(refusal)
                    continue
                trap = self._proxy.trap_for(statement, self)
                if trap is not None and not trap.is_after:
                    trap.spring()
                    return
                self._caught = self._caught or trap
                server.sendall(message)

    def _listen_to_server(self, client: socket.socket, server: socket.socket) -> None:
        while data := server.recv(CHUNK):
            is_answer = self._conversation.answered(data)
            if self._caught is None:
                self._proxy.pass_by()
                client.sendall(data)
            elif is_answer:
                self._caught.spring()
                return


class Proxy:
    """Listens on a port of this machine, and connects each client to the server of `alias`."""

    def __init__(self, alias: str) -> None:
        self.vendor = connections[alias].vendor
        self.delay = 0.0
        self.refuses = False
        """Whether to accept nobody any more, as a server that isn't there."""
        self._alias = alias
        self._address = address_of(alias)
        self._traps: list[Trap] = []
        self._links: list[Link] = []
        self._linking = threading.Lock()
        self._open = threading.Event()
        self._open.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    @property
    def settings(self) -> dict[str, Any]:
        """The options of `DATABASES` with which the same database is reached by way of it."""
        given = connections[self._alias].settings_dict
        options = {
            name: value
            for name, value in given.get("OPTIONS", {}).items()
            if name not in {"host", "port", "unix_socket"}
        }
        port = str(self._listener.getsockname()[1])
        return dict(given) | {"HOST": "127.0.0.1", "PORT": port, "OPTIONS": options}

    def cut_all(self) -> int:
        """Cut all connections now; returns how many there were."""
        with self._linking:
            links, self._links = self._links, []
        for link in links:
            link.close()
        return len(links)

    def cut(
        self,
        when: str,
        pattern: str,
        *,
        following: str = "",
        nth: int = 1,
        spring: Callable[[], object] = lambda: None,
    ) -> Trap:
        """Cut the connection "before" or "after" a statement is done; see `Trap`."""
        trap = Trap(pattern, following, nth, spring, {"before": False, "after": True}[when])
        self._traps.append(trap)
        return trap

    def go_black(self) -> None:
        """Keep the connections, accept new ones, and let nothing through."""
        self._open.clear()

    def come_back(self) -> None:
        """Let everything through that was kept, and what follows."""
        self._open.set()

    def pass_by(self) -> None:
        """Wait as long as a message has to."""
        self._open.wait()
        if self.delay:
            time.sleep(self.delay)

    def trap_for(self, statement: str, link: Link) -> Trap | None:
        return next((trap for trap in self._traps if trap.catches(statement, link)), None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join()
        self._listener.close()
        self.come_back()
        self.cut_all()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                if self.refuses:
                    raise ConnectionRefusedError
                server = connected(self._address)
            except OSError:
                client.close()
                continue
            with self._linking:
                self._links.append(Link(self, client, server))


Address = str | tuple[str, int]


def connected(address: Address) -> socket.socket:
    """A connection to the server. Raises OSError."""
    if isinstance(address, tuple):
        return socket.create_connection(address)
    client = socket.socket(socket.AF_UNIX)
    try:
        client.connect(address)
    except OSError:
        client.close()
        raise
    return client


def address_of(alias: str) -> Address:
    """Where the server of `alias` listens: the path of a socket, or host and port."""
    connection: Any = connections[alias]
    connection.ensure_connection()
    if connection.vendor == "postgresql":
        info = connection.connection.info
        if info.host.startswith("/"):
            return f"{info.host}/.s.PGSQL.{info.port}"
        return info.host, info.port
    if "socket" in connection.connection.get_host_info().lower():
        with connection.cursor() as cursor:
            cursor.execute("SELECT @@socket")
            path: str = cursor.fetchone()[0]
            return path
    return connection.settings_dict["HOST"], int(connection.settings_dict["PORT"] or 3306)

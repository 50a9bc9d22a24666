"""The other side: a small HTTP server that records what it receives. It knows nothing of Django."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any, Final, NamedTuple

CREATES: Final = {"/parcels": "parcel", "/labels": "label", "/declarations": "declaration"}
CUSTOMS_CLOSED: Final = "the customs office is closed"


class Received(NamedTuple):
    """One request, as it came in."""

    path: str
    key: str
    body: dict[str, Any]


class Warehouse(ThreadingHTTPServer):
    """Creates one thing for each Idempotency-Key, however often it is asked.

    `received`: all requests. `created`: what each key got: `{"kind": "parcel", "number": …}`.
    With `flaky` the first answer about each label gets lost, and the customs office is closed.
    """

    daemon_threads = True

    def __init__(self, address: tuple[str, int], *, flaky: bool) -> None:
        super().__init__(address, WarehouseHandler)
        self.flaky = flaky
        self.received: list[Received] = []
        self.created: dict[str, dict[str, Any]] = {}
        self._lock = Lock()

    @property
    def url(self) -> str:
        return f"http://{self.server_address[0]!s}:{self.server_address[1]}"

    def receive(self, received: Received) -> tuple[dict[str, Any], bool]:
        """Record a request; returns what its key stands for, and whether that is new."""
        with self._lock:
            self.received.append(received)
            is_new = received.key not in self.created
            thing = {"kind": CREATES[received.path], "number": len(self.created) + 1}
            if not (self.flaky and received.path == "/declarations"):
                self.created.setdefault(received.key, thing)
        return self.created.get(received.key, {}), is_new


class WarehouseHandler(BaseHTTPRequestHandler):
    server: Warehouse

    def do_POST(self) -> None:
        key = self.headers["Idempotency-Key"]
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path not in CREATES or not key:
            self.answer(400, {"error": f"needs an Idempotency-Key and one of {sorted(CREATES)}"})
            return
        thing, is_new = self.server.receive(Received(self.path, key, body))
        if not thing:
            self.answer(503, {"error": CUSTOMS_CLOSED})
        elif is_new and self.server.flaky and self.path == "/labels":
            self.close_connection = True  # the label is printed, and its answer gets lost
        else:
            self.answer(201 if is_new else 200, thing)

    def answer(self, status: int, content: dict[str, Any]) -> None:
        text = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: who wants to know reads `received`."""


@contextmanager
def open_warehouse(port: int = 0, *, flaky: bool = False) -> Iterator[Warehouse]:
    """A warehouse on 127.0.0.1, by default on a free port, that answers from threads of its own."""
    with Warehouse(("127.0.0.1", port), flaky=flaky) as warehouse:
        thread = Thread(target=warehouse.serve_forever, name="warehouse", daemon=True)
        thread.start()
        try:
            yield warehouse
        finally:
            warehouse.shutdown()
            thread.join()

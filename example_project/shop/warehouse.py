"""The other side: a small HTTP server that records what it receives. It knows nothing of Django.

It plays the warehouse, and under `/analytics` somebody else's service, too.
"""

from __future__ import annotations

import json
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any, Final, NamedTuple

CREATES: Final = {
    "/reservations": "reservation",
    "/parcels": "parcel",
    "/cancellations": "cancellation",
    "/analytics": "data point",
}
SHELF: Final = {"tea": 1000, "mug": 1000, "moon lamp": 0}
AT_MOST: Final = 2
"""Requests at the same time; it refuses more."""

HANDLING: Final = 0.05
"""Seconds that each request takes."""


class Received(NamedTuple):
    """One request, as it came in."""

    path: str
    key: str
    body: dict[str, Any]


class Refusal(Exception):
    """An HTTP status and an error to answer with."""


class AnswerLost(Exception):
    """It is done, but the client doesn't get to know."""


class Warehouse(ThreadingHTTPServer):
    """Does one thing for each Idempotency-Key, however often it is asked.

    `received`: all requests. `created`: what each key got: `{"kind": "parcel", "number": …}`.
    `shelf`: what is left to reserve, by product. `most_at_once`: how many requests the warehouse
    has had at the same time; it refuses those beyond `AT_MOST`.
    With `flaky` its first answer about a parcel gets lost, and the analytics service is down.
    `interrupt`: is called once, with the next request, before that is answered.
    """

    daemon_threads = True

    def __init__(self, address: tuple[str, int], *, flaky: bool = False) -> None:
        super().__init__(address, WarehouseHandler)
        self.flaky = flaky
        self.most_at_once = 0
        self.received: list[Received] = []
        self.created: dict[str, dict[str, Any]] = {}
        self.shelf = Counter(SHELF)
        self.interrupt: Callable[[Received], object] | None = None
        self._in_hand = 0
        self._reserved: defaultdict[int, Counter[str]] = defaultdict(Counter)
        self._cancelled: set[int] = set()
        self._lock = Lock()

    @property
    def url(self) -> str:
        return f"http://{self.server_address[0]!s}:{self.server_address[1]}"

    def receive(self, received: Received) -> dict[str, Any]:
        """Record a request; returns what its key stands for. Raises Refusal, AnswerLost."""
        with self._lock:
            self.received.append(received)
            interrupt, self.interrupt = self.interrupt, None
        if interrupt is not None:
            interrupt(received)
        if received.path == "/analytics":
            if self.flaky:
                raise Refusal(503, "down for maintenance")
            return self.do(received)
        with self._one_more_in_hand():
            time.sleep(HANDLING)
            return self.do(received)

    def do(self, received: Received) -> dict[str, Any]:
        """What the key stands for, done now if it is new. Raises Refusal, AnswerLost."""
        path, key, body = received
        with self._lock:
            if key in self.created:
                return self.created[key]
            if path == "/reservations":
                self._reserve(**body)
            elif path == "/cancellations":
                self._cancel(**body)
            is_first = all(thing["kind"] != CREATES[path] for thing in self.created.values())
            self.created[key] = {"kind": CREATES[path], "number": len(self.created) + 1}
            if self.flaky and path == "/parcels" and is_first:
                raise AnswerLost
            return self.created[key]

    def _reserve(self, order: int, product: str, quantity: int) -> None:
        if order in self._cancelled:
            raise Refusal(409, f"order {order} is cancelled")
        if self.shelf[product] < quantity:
            raise Refusal(409, f"{product} is sold out")
        self.shelf[product] -= quantity
        self._reserved[order][product] += quantity

    def _cancel(self, order: int) -> None:
        """Put back what was reserved; what comes later is refused."""
        self._cancelled.add(order)
        self.shelf.update(self._reserved.pop(order, Counter()))

    @contextmanager
    def _one_more_in_hand(self) -> Iterator[None]:
        with self._lock:
            self._in_hand += 1
            self.most_at_once = max(self.most_at_once, self._in_hand)
            is_too_much = self._in_hand > AT_MOST
        try:
            if is_too_much:
                raise Refusal(429, f"more than {AT_MOST} requests at once")
            yield
        finally:
            # Before the answer: then the client may come with the next one.
            with self._lock:
                self._in_hand -= 1


class WarehouseHandler(BaseHTTPRequestHandler):
    server: Warehouse

    def do_POST(self) -> None:
        key = self.headers["Idempotency-Key"]
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path not in CREATES or not key:
            self.answer(400, {"error": f"needs an Idempotency-Key and one of {sorted(CREATES)}"})
            return
        try:
            self.answer(201, self.server.receive(Received(self.path, key, body)))
        except Refusal as refusal:
            status, error = refusal.args
            self.answer(status, {"error": error})
        except AnswerLost:
            self.close_connection = True

    def answer(self, status: int, content: dict[str, Any]) -> None:
        text = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        with suppress(ConnectionError):  # who asked is gone
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

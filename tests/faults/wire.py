"""Find the statements in what client and server say to each other, by the servers' protocols."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Protocol

SSL_REQUEST: Final = 80877103
GSSENC_REQUEST: Final = 80877104
COM_QUERY: Final = 0x03
COM_STMT_PREPARE: Final = 0x16
COM_STMT_EXECUTE: Final = 0x17


class Conversation(Protocol):
    """One connection, as the proxy overhears it."""

    def asked(self, data: bytes) -> Iterator[tuple[bytes, str]]:
        """Whole messages of the client, each with the statement that it executes, or ""."""

    def refused(self, message: bytes) -> bytes | None:
        """What to answer to a message that the server isn't to hear; None: pass it on."""

    def answered(self, data: bytes) -> bool:
        """Whether these bytes of the server end its answer to a statement."""


class PostgreSQL:
    """Version 3 of the protocol: a type, a length, a body; the first message has no type."""

    def __init__(self) -> None:
        self._from_client = b""
        self._from_server = b""
        self._is_greeted = False
        self._prepared: dict[bytes, str] = {}
        self._bound: dict[bytes, str] = {}

    def asked(self, data: bytes) -> Iterator[tuple[bytes, str]]:
        self._from_client += data
        while True:
            start = int(self._is_greeted)
            if len(self._from_client) < start + 4:
                return
            length = start + int.from_bytes(self._from_client[start : start + 4])
            if len(self._from_client) < length:
                return
            message, self._from_client = self._from_client[:length], self._from_client[length:]
            if self._is_greeted:
                yield message, self._statement(message[:1], message[5:])
            else:
                self._is_greeted = self.refused(message) is None
                yield message, ""

    def refused(self, message: bytes) -> bytes | None:
        """What is encrypted could not be read: the client goes on without."""
        if len(message) == 8 and int.from_bytes(message[4:]) in {SSL_REQUEST, GSSENC_REQUEST}:
            return b"N"
        return None

    def answered(self, data: bytes) -> bool:
        """Only "ready for query" says that a statement in autocommit is committed."""
        self._from_server += data
        is_ready = False
        while len(self._from_server) >= 5:
            length = 1 + int.from_bytes(self._from_server[1:5])
            if len(self._from_server) < length:
                break
            is_ready = self._from_server[:1] == b"Z"
            self._from_server = self._from_server[length:]
        return is_ready

    def _statement(self, kind: bytes, body: bytes) -> str:
        if kind == b"Q":
            return body.rstrip(b"\0").decode(errors="replace")
        if kind == b"P":
            name, text, _ = body.split(b"\0", 2)
            self._prepared[name] = text.decode(errors="replace")
        elif kind == b"B":
            portal, name, _ = body.split(b"\0", 2)
            self._bound[portal] = self._prepared.get(name, "")
        elif kind == b"E":
            return self._bound.get(body.split(b"\0", 1)[0], "")
        return ""


class MySQL:
    """Packets: three bytes of length, a sequence number that a command starts at 0, a body."""

    def __init__(self) -> None:
        self._from_client = b""
        self._prepared: list[str] = []

    def asked(self, data: bytes) -> Iterator[tuple[bytes, str]]:
        self._from_client += data
        while len(self._from_client) >= 4:
            length = 4 + int.from_bytes(self._from_client[:3], "little")
            if len(self._from_client) < length:
                return
            message, self._from_client = self._from_client[:length], self._from_client[length:]
            is_command = message[3] == 0 and length > 4
            yield message, self._statement(message[4], message[5:]) if is_command else ""

    def refused(self, message: bytes) -> bytes | None:
        return None

    def answered(self, data: bytes) -> bool:
        """The server says nothing before it has done what it was asked to."""
        return True

    def _statement(self, command: int, body: bytes) -> str:
        if command == COM_QUERY:
            return body.decode(errors="replace")
        if command == COM_STMT_PREPARE:
            self._prepared.append(body.decode(errors="replace"))
        elif command == COM_STMT_EXECUTE:
            # Servers number them from 1 on, for each connection.
            return self._prepared[int.from_bytes(body[:4], "little") - 1]
        return ""


PROTOCOLS: Final[dict[str, type[PostgreSQL | MySQL]]] = {
    "postgresql": PostgreSQL,
    "mysql": MySQL,
}

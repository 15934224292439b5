"""Counts on the wire what a process requests from PostgreSQL and RabbitMQ.

PostgreSQL's protocol: https://www.postgresql.org/docs/current/protocol-message-formats.html; AMQP's frames:
section 2.3 of the specification of AMQP 0-9-1. Of both only as much as it takes to count.
"""

from __future__ import annotations

import struct
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from sqlalchemy import make_url

from tests.support.tcp_proxy import TcpProxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# What asks for encryption, or to cancel a query, has this in the upper half of its protocol's number.
_SPECIAL_REQUEST_CODE = 1234
AMQP_HEADER = 8
_METHODS = {
    (50, 10): "queue.declare",
    (50, 11): "queue.declare-ok",
    (60, 40): "basic.publish",
    (60, 60): "basic.deliver",
    (60, 80): "basic.ack",
}


@dataclass(slots=True)
class Transaction:
    """One transaction: its statements as they were sent, and how often an answer had to be waited for.

    BEGIN and COMMIT are round trips, and no statements. A statement without them is a transaction of its own.
    """

    statements: list[str] = field(default_factory=list)
    round_trips: int = 0
    committed: bool | None = None


class PostgresWireReader:
    """The client's side of one connection to PostgreSQL; gives away each transaction that has ended.

    `asked` hears of each statement when it is sent.
    """

    def __init__(
        self,
        on_transaction: Callable[[Transaction], None],
        *,
        on_statement: Callable[[str], None] | None = None,
    ) -> None:
        self._ended = on_transaction
        self._asked = on_statement
        self._unread = bytearray()
        self._is_started = False
        self._begun = False
        self._now = Transaction()
        self._prepared: dict[bytes, str] = {}
        self._bound: dict[bytes, str] = {}

    def feed(self, data: bytes) -> None:
        """Read on."""
        self._unread += data
        while message := self._next():
            self._read(*message)

    def _next(self) -> tuple[bytes, bytes] | None:
        """The next whole message: its type, none for one that opens the connection, and its content."""
        head = int(self._is_started)
        if len(self._unread) < head + 4:
            return None
        end = head + int.from_bytes(self._unread[head : head + 4])
        if len(self._unread) < end:
            return None
        kind, content = bytes(self._unread[:head]), bytes(self._unread[head + 4 : end])
        del self._unread[:end]
        return kind, content

    def _read(self, kind: bytes, content: bytes) -> None:
        match kind:
            case b"":
                self._is_started = int.from_bytes(content[:2]) != _SPECIAL_REQUEST_CODE
            case b"P":
                name, text, _ = content.split(b"\0", 2)
                self._prepared[name] = text.decode()
            case b"B":
                portal, name, _ = content.split(b"\0", 2)
                self._bound[portal] = self._prepared[name]
            case b"E":
                self._ask(self._bound[content.split(b"\0", 1)[0]])
            case b"Q":
                self._now.round_trips += 1
                self._ask(content.rstrip(b"\0").decode())
                self._rest()
            case b"S":
                self._now.round_trips += 1
                self._rest()
            case _:
                pass

    def _ask(self, statement: str) -> None:
        match statement.split(maxsplit=1)[0].lower():
            case "begin":
                self._begun = True
            case "commit" | "rollback" as word:
                self._begun = False
                self._now.committed = word == "commit"
            case _:
                self._now.statements.append(statement)
                if self._asked is not None:
                    self._asked(statement)

    def _rest(self) -> None:
        """Everything that was asked is with the server: outside of BEGIN and COMMIT that ends it."""
        if not self._begun:
            if self._now.committed is None and self._now.statements:
                self._now.committed = True
            self._ended(self._now)
            self._now = Transaction()


class AmqpFrameReader:
    """One direction of one connection to RabbitMQ: calls `heard` with the name of each method."""

    def __init__(self, on_method: Callable[[str], None], *, skip_bytes: int = 0) -> None:
        """`opening` is how many bytes come before the first frame."""
        self._heard = on_method
        self._opening = skip_bytes
        self._unread = bytearray()

    def feed(self, data: bytes) -> None:
        """Read on."""
        self._unread += data
        if self._opening:
            if len(self._unread) < self._opening:
                return
            del self._unread[: self._opening]
            self._opening = 0
        while len(self._unread) >= 7:
            kind, _, size = struct.unpack_from(">BHI", self._unread)
            if len(self._unread) < 7 + size + 1:
                return
            if kind == 1:
                method = struct.unpack_from(">HH", self._unread, 7)
                self._heard(_METHODS.get(method, "{}.{}".format(*method)))
            del self._unread[: 7 + size + 1]


class CountedDatabase:
    """A database as one kind of process sees it: at `url`, with every transaction of it in order."""

    def __init__(self, url: str, proxy: TcpProxy, transactions: list[Transaction]) -> None:
        # Not even asked for: encrypted there is nothing to count.
        plain = make_url(url).set(host="127.0.0.1", port=proxy.port).update_query_dict({"sslmode": "disable"})
        self.url = plain.render_as_string(hide_password=False)
        self._proxy = proxy
        self._transactions = transactions

    @property
    def transactions(self) -> list[Transaction]:
        """Those that have ended by now."""
        self._proxy.raise_listener_error()
        return list(self._transactions)


class CountedBroker:
    """A RabbitMQ as one kind of process sees it: at `url`; methods of either side are counted by name."""

    def __init__(self, url: str, proxy: TcpProxy, sent: Counter[str], received: Counter[str]) -> None:
        parts = urlsplit(url)
        who, at, _ = parts.netloc.rpartition("@")
        self.url = parts._replace(netloc=f"{who}{at}127.0.0.1:{proxy.port}").geturl()
        self._proxy = proxy
        self._sent = sent
        self._received = received

    @property
    def sent(self) -> Counter[str]:
        """The counts of what the process has sent."""
        self._proxy.raise_listener_error()
        return self._sent.copy()

    @property
    def received(self) -> Counter[str]:
        """The counts of what it has received."""
        self._proxy.raise_listener_error()
        return self._received.copy()


@contextmanager
def count_database_traffic(url: str) -> Iterator[CountedDatabase]:
    """Put a proxy that counts before the PostgreSQL of this URL."""
    transactions: list[Transaction] = []
    server = make_url(url)

    def ears() -> tuple[Callable[[bytes], None], Callable[[bytes], None]]:
        return PostgresWireReader(transactions.append).feed, lambda _answer: None

    with TcpProxy(server.host or "127.0.0.1", server.port or 5432, ears) as proxy:
        yield CountedDatabase(url, proxy, transactions)


@contextmanager
def count_broker_traffic(url: str) -> Iterator[CountedBroker]:
    """Put a proxy that counts before the RabbitMQ of this URL."""
    sent: Counter[str] = Counter()
    received: Counter[str] = Counter()
    server = urlsplit(url)

    def ears() -> tuple[Callable[[bytes], None], Callable[[bytes], None]]:
        return AmqpFrameReader(_make_counter(sent), skip_bytes=AMQP_HEADER).feed, AmqpFrameReader(
            _make_counter(received)
        ).feed

    with TcpProxy(server.hostname or "127.0.0.1", server.port or 5672, ears) as proxy:
        yield CountedBroker(url, proxy, sent, received)


def _make_counter(methods: Counter[str]) -> Callable[[str], None]:
    def count(name: str) -> None:
        methods[name] += 1

    return count

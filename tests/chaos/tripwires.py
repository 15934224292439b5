"""Links between a process and a server, and wires over them: whoever touches one is killed on the spot.

What has touched the wire does not pass: a boundary between two steps is met exactly, on real processes that
know nothing of it.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Self

from tests.support.query_costs import get_statement_name
from tests.support.tcp_proxy import ConnectionCut, TcpProxy
from tests.support.wire_counting import AMQP_HEADER, AmqpFrameReader, PostgresWireReader, Transaction

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tests.support.tcp_proxy import ByteListener

# ReadyForQuery, outside of a transaction: the commit is done, and the client is about to learn it.
_READY_FOR_QUERY = b"Z\x00\x00\x00\x05I"


class WireTrigger(Enum):
    """When a wire is touched: by a statement on its way, by the news of its commit, by a method of AMQP."""

    ASKED = "asked"
    COMMITTED = "committed"
    SENT = "sent"
    RECEIVED = "received"


@dataclass(eq=False)
class Tripwire:
    """Waits for one thing, by its name or the beginning of it; of several that touch it the first counts."""

    trigger: WireTrigger
    name: str
    skip: int = 0
    tripped: threading.Event = field(default_factory=threading.Event)
    process: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def check(self, on: WireTrigger, names: Iterable[str], who: str, kill: Callable[[str], None]) -> None:
        """Something passes; raises CutOff if it must not."""
        if on is not self.trigger or not any(name.startswith(self.name) for name in names):
            return
        with self._lock:
            if self.tripped.is_set():
                return
            if self.skip:
                self.skip -= 1
                return
            self.process = who
            kill(who)
            self.tripped.set()
        raise ConnectionCut


class ProxiedLink:
    """The way of one process to one server, through a proxy of its own."""

    def __init__(self, who: str, server: tuple[str, int], kill: Callable[[str], None], *, sql: bool) -> None:
        """Nothing listens before `with`."""
        self.process = who
        self.tripwire: Tripwire | None = None
        self._kill = kill
        self.proxy = TcpProxy(*server, self._make_sql_listeners if sql else self._make_amqp_listeners)

    def __enter__(self) -> Self:
        self.proxy.__enter__()
        return self

    def __exit__(self, *what: object) -> None:
        self.proxy.__exit__(*what)

    def _check_tripwire(self, on: WireTrigger, names: Iterable[str]) -> None:
        if self.tripwire is not None:
            self.tripwire.check(on, names, self.process, self._kill)

    def _make_sql_listeners(self) -> tuple[ByteListener, ByteListener]:
        over: list[str] = []

        def ended(transaction: Transaction) -> None:
            over[:] = map(get_statement_name, transaction.statements) if self.tripwire is not None else ()

        def on_statement(statement: str) -> None:
            if self.tripwire is not None:
                self._check_tripwire(WireTrigger.ASKED, [get_statement_name(statement)])

        def answered(data: bytes) -> None:
            if over and _READY_FOR_QUERY in data:
                names = list(over)
                over.clear()
                self._check_tripwire(WireTrigger.COMMITTED, names)

        return PostgresWireReader(ended, on_statement=on_statement).feed, answered

    def _make_amqp_listeners(self) -> tuple[ByteListener, ByteListener]:
        def sent(method: str) -> None:
            self._check_tripwire(WireTrigger.SENT, [method])

        def received(method: str) -> None:
            self._check_tripwire(WireTrigger.RECEIVED, [method])

        return AmqpFrameReader(sent, skip_bytes=AMQP_HEADER).feed, AmqpFrameReader(received).feed

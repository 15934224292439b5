"""Links between a process and a server, and wires over them: whoever touches one is killed on the spot.

What has touched the wire does not pass: a boundary between two steps is met exactly, on real processes that
know nothing of it.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Self

from tests.support.costs import name_of
from tests.support.counting import AMQP_HEADER, Client, Frames, Transaction
from tests.support.proxy import CutOff, Proxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tests.support.proxy import Ear

# ReadyForQuery, outside of a transaction: what was committed is so, and the client is about to be told.
_READY = b"Z\x00\x00\x00\x05I"


class On(Enum):
    """When a wire is touched: by a statement on its way, by the news of its commit, by a method of AMQP."""

    ASKED = "asked"
    COMMITTED = "committed"
    SENT = "sent"
    RECEIVED = "received"


@dataclass(eq=False)
class Wire:
    """Waits for one thing, by its name or the beginning of it; of several that touch it the first counts."""

    on: On
    name: str
    let_pass: int = 0
    touched: threading.Event = field(default_factory=threading.Event)
    by: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def touch(self, on: On, names: Iterable[str], who: str, kill: Callable[[str], None]) -> None:
        """Something passes; raises CutOff if it must not."""
        if on is not self.on or not any(name.startswith(self.name) for name in names):
            return
        with self._lock:
            if self.touched.is_set():
                return
            if self.let_pass:
                self.let_pass -= 1
                return
            self.by = who
            kill(who)
            self.touched.set()
        raise CutOff


class Link:
    """The way of one process to one server, through a proxy of its own."""

    def __init__(self, who: str, server: tuple[str, int], kill: Callable[[str], None], *, sql: bool) -> None:
        """Nothing listens before `with`."""
        self.who = who
        self.wire: Wire | None = None
        self._kill = kill
        self.proxy = Proxy(*server, self._sql_ears if sql else self._amqp_ears)

    def __enter__(self) -> Self:
        self.proxy.__enter__()
        return self

    def __exit__(self, *what: object) -> None:
        self.proxy.__exit__(*what)

    def _touch(self, on: On, names: Iterable[str]) -> None:
        if self.wire is not None:
            self.wire.touch(on, names, self.who, self._kill)

    def _sql_ears(self) -> tuple[Ear, Ear]:
        over: list[str] = []

        def ended(transaction: Transaction) -> None:
            over[:] = map(name_of, transaction.statements) if self.wire is not None else ()

        def asked(statement: str) -> None:
            if self.wire is not None:
                self._touch(On.ASKED, [name_of(statement)])

        def answered(data: bytes) -> None:
            if over and _READY in data:
                names = list(over)
                over.clear()
                self._touch(On.COMMITTED, names)

        return Client(ended, asked=asked).hear, answered

    def _amqp_ears(self) -> tuple[Ear, Ear]:
        def sent(method: str) -> None:
            self._touch(On.SENT, [method])

        def received(method: str) -> None:
            self._touch(On.RECEIVED, [method])

        return Frames(sent, opening=AMQP_HEADER).hear, Frames(received).hear

"""From a host name to its addresses: one lookup for all who ask at once, kept for a few seconds."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from datetime import timedelta
from ipaddress import ip_address
from time import monotonic
from typing import Final

Lookup = Callable[[str], Awaitable[Sequence[str]]]

_MAX_FAST_LOOKUPS: Final = 48
_MAX_SLOW_LOOKUPS: Final = 16
_MAX_CACHED_NAMES: Final = 10_000


async def resolve_with_system(host: str) -> Sequence[str]:
    """Ask the operating system for a name's addresses; raises OSError (`socket.gaierror`) or UnicodeError.

    Runs in a thread of its own that nobody waits for: `getaddrinfo` cannot be stopped, and a dead name server
    must neither use up a shared pool of threads nor hold the process when it wants to end.
    """
    found: Future[Sequence[str]] = Future()
    found.set_running_or_notify_cancel()  # from here on it cannot be cancelled under the thread's hands
    threading.Thread(target=_resolve_in_thread, args=(host, found), name="lookup", daemon=True).start()
    return await asyncio.wrap_future(found)


def _resolve_in_thread(host: str, found: Future[Sequence[str]]) -> None:
    try:
        answers = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    except Exception as error:  # noqa: BLE001  handed to the one who asked
        found.set_exception(error)
    else:
        found.set_result([str(sockaddr[0]) for *_, sockaddr in answers])


class DnsCache:
    """Looks names up. It checks nothing: the guard does, before each dial."""

    def __init__(
        self,
        lookup: Lookup = resolve_with_system,
        *,
        ttl: timedelta = timedelta(seconds=5),
        slow_after: timedelta = timedelta(seconds=1),
    ) -> None:
        self._lookup = lookup
        self._slow_after = slow_after.total_seconds()
        self._ttl_seconds = ttl.total_seconds()
        self._cache: OrderedDict[str, tuple[float, tuple[str, ...]]] = OrderedDict()
        self._pending: dict[str, asyncio.Task[tuple[str, ...]]] = {}
        # A name that was slow once waits among the slow ones from then on, so that a few hundred dead names
        # cannot stand in front of everybody else's.
        self._slow_hosts: set[str] = set()
        self._fast_slots = asyncio.Semaphore(_MAX_FAST_LOOKUPS)
        self._slow_slots = asyncio.Semaphore(_MAX_SLOW_LOOKUPS)

    async def resolve_host(self, host: str) -> tuple[str, ...]:
        """Give the addresses of a host, which may be a literal address; raises OSError or UnicodeError."""
        if is_ip_address(host):
            return (host,)
        known = self._cache.get(host)
        if known is not None and known[0] > monotonic():
            return known[1]
        asked = self._pending.get(host)
        if asked is None:
            asked = self._pending[host] = asyncio.create_task(self._look_up_host(host))
            asked.add_done_callback(lambda done: self._on_lookup_done(host, done))
        # Shielded: when one of those who wait gives up, the lookup goes on for the others.
        return await asyncio.shield(asked)

    async def aclose(self) -> None:
        """Let go of the lookups that are still under way."""
        asked = list(self._pending.values())
        for lookup in asked:
            lookup.cancel()
        await asyncio.gather(*asked, return_exceptions=True)

    async def _look_up_host(self, host: str) -> tuple[str, ...]:
        async with self._slow_slots if host in self._slow_hosts else self._fast_slots:
            began = monotonic()
            try:
                found = tuple(dict.fromkeys(await self._lookup(host)))
            finally:
                self._record_speed(host, slow=monotonic() - began > self._slow_after)
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "The name has no address")
        return found

    def _record_speed(self, host: str, *, slow: bool) -> None:
        if not slow:
            self._slow_hosts.discard(host)
        elif len(self._slow_hosts) < _MAX_CACHED_NAMES:
            self._slow_hosts.add(host)

    def _on_lookup_done(self, host: str, done: asyncio.Task[tuple[str, ...]]) -> None:
        del self._pending[host]
        # Asking for the exception also tells asyncio that it was seen, when all who waited have gone.
        if done.cancelled() or done.exception() is not None:
            return
        self._cache[host] = (monotonic() + self._ttl_seconds, done.result())
        self._cache.move_to_end(host)
        if len(self._cache) > _MAX_CACHED_NAMES:
            self._cache.popitem(last=False)


def is_ip_address(host: str) -> bool:
    """Whether a host is written as an address, so that there is nothing to look up."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True

"""Resolves host names: concurrent callers share a lookup, and its addresses are cached for a few seconds."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from datetime import timedelta
from ipaddress import ip_address
from time import monotonic
from typing import Final

from delivery.domain.single_flight import BoundedDict, SingleFlight

Lookup = Callable[[str], Awaitable[Sequence[str]]]

_MAX_FAST_LOOKUPS: Final = 48
_MAX_SLOW_LOOKUPS: Final = 16
_MAX_CACHED_NAMES: Final = 10_000


async def resolve_with_system(host: str) -> Sequence[str]:
    """Resolve a name with the operating system; raises OSError (`socket.gaierror`) or UnicodeError.

    Each lookup runs in a daemon thread of its own: `getaddrinfo` cannot be stopped, and a dead name server
    must neither exhaust a shared pool of threads nor keep the process from ending.
    """
    result: Future[Sequence[str]] = Future()
    result.set_running_or_notify_cancel()  # the caller can no longer cancel it while the thread sets it
    threading.Thread(target=_resolve_in_thread, args=(host, result), name="lookup", daemon=True).start()
    return await asyncio.wrap_future(result)


def _resolve_in_thread(host: str, result: Future[Sequence[str]]) -> None:
    try:
        answers = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    except Exception as error:  # noqa: BLE001  raised in the caller
        result.set_exception(error)
    else:
        result.set_result([str(sockaddr[0]) for *_, sockaddr in answers])


class DnsCache:
    """Resolves host names and caches their addresses; the guard checks these before each dial."""

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
        self._cache: BoundedDict[str, tuple[float, tuple[str, ...]]] = BoundedDict(_MAX_CACHED_NAMES)
        self._lookups: SingleFlight[str, tuple[str, ...]] = SingleFlight()
        # A name that was slow once queues with the slow ones, so that a few hundred dead names cannot hold
        # up everybody else's.
        self._slow_hosts: set[str] = set()
        self._fast_slots = asyncio.Semaphore(_MAX_FAST_LOOKUPS)
        self._slow_slots = asyncio.Semaphore(_MAX_SLOW_LOOKUPS)

    async def resolve_host(self, host: str) -> tuple[str, ...]:
        """Return the addresses of a host, which may be a literal address; raises OSError or UnicodeError."""
        if is_ip_address(host):
            return (host,)
        cached = self._cache.get(host)
        if cached is not None and cached[0] > monotonic():
            return cached[1]
        return await self._lookups.run(host, lambda: self._look_up_host(host))

    async def aclose(self) -> None:
        """Cancel the lookups that are still running."""
        await self._lookups.aclose()

    async def _look_up_host(self, host: str) -> tuple[str, ...]:
        async with self._slow_slots if host in self._slow_hosts else self._fast_slots:
            began = monotonic()
            try:
                addresses = tuple(dict.fromkeys(await self._lookup(host)))
            finally:
                self._record_speed(host, slow=monotonic() - began > self._slow_after)
        if not addresses:
            raise socket.gaierror(socket.EAI_NONAME, "The name has no address")
        self._cache[host] = (monotonic() + self._ttl_seconds, addresses)
        return addresses

    def _record_speed(self, host: str, *, slow: bool) -> None:
        if not slow:
            self._slow_hosts.discard(host)
        elif len(self._slow_hosts) < _MAX_CACHED_NAMES:
            self._slow_hosts.add(host)


def is_ip_address(host: str) -> bool:
    """Whether a host is a literal address, so that nothing has to be looked up."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True

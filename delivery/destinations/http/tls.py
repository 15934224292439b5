"""TLS contexts, one for each client identity."""

from __future__ import annotations

import asyncio
import os
import ssl
from typing import TYPE_CHECKING, Final

import certifi

from delivery.domain.single_flight import BoundedDict

if TYPE_CHECKING:
    from collections.abc import Callable

    from delivery.destinations.http.client_certificate import ClientIdentity

MAX_CACHED_CONTEXTS: Final = 256


def create_tls_context() -> ssl.SSLContext:
    """Create a verifying TLS context: TLS 1.2 or newer, trusting the system's authorities and certifi's.

    Both, because a minimal machine has none of its own, and an operator may have added a private one.
    """
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


class TlsContexts:
    """One context without a client certificate, and one for each recently used client identity.

    A context holds every trusted authority, about a megabyte, so their number is bounded.
    """

    def __init__(self, create: Callable[[], ssl.SSLContext]) -> None:
        """Create the context without a client certificate at once."""
        self._create = create
        self.default = create()
        self._cache: BoundedDict[ClientIdentity, ssl.SSLContext] = BoundedDict(MAX_CACHED_CONTEXTS)

    async def get_context(self, identity: ClientIdentity | None) -> ssl.SSLContext:
        """Return the context for this identity; raises ssl.SSLError for one that OpenSSL rejects."""
        if identity is None:
            return self.default
        context = self._cache.get(identity)
        if context is None:
            # Reading the authorities takes tens of milliseconds, which must not block the loop.
            context = await asyncio.to_thread(_create_client_context, self._create, identity)
            self._cache[identity] = context
        self._cache.move_to_end(identity)
        return context


def _create_client_context(create: Callable[[], ssl.SSLContext], identity: ClientIdentity) -> ssl.SSLContext:
    context = create()
    # Python's ssl loads certificates from files only: this one is in memory, unnamed, and gone once closed.
    descriptor = os.memfd_create("identity", os.MFD_CLOEXEC)
    try:
        with os.fdopen(descriptor, "wb", closefd=False) as file:
            file.write((identity.chain + identity.private_key).encode())
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
    return context

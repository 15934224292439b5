"""TLS as we speak it, and whom we show ourselves as."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

import certifi

if TYPE_CHECKING:
    from collections.abc import Callable

    from delivery.certificates import ClientIdentity

MOST_KEPT: Final = 256


def verified_tls() -> ssl.SSLContext:
    """Make a TLS context that verifies: TLS 1.2 or newer, trusting the system's authorities and certifi's.

    Both, because a bare machine has none of its own, and an operator may have added a private one.
    """
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


class Contexts:
    """One context for all who show nothing, and one for each client identity shown lately.

    A context holds every authority that is trusted, about a megabyte: only so many are kept.
    """

    def __init__(self, make: Callable[[], ssl.SSLContext]) -> None:
        """Make the one for all at once."""
        self._make = make
        self.nobodys = make()
        self._kept: OrderedDict[ClientIdentity, ssl.SSLContext] = OrderedDict()

    async def of(self, identity: ClientIdentity | None) -> ssl.SSLContext:
        """The context that shows this identity; raises ssl.SSLError for one that OpenSSL does not take."""
        if identity is None:
            return self.nobodys
        kept = self._kept.get(identity)
        if kept is None:
            # Tens of milliseconds of reading authorities, for which nobody else is to wait.
            kept = self._kept[identity] = await asyncio.to_thread(_showing, self._make, identity)
            if len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(identity)
        return kept


def _showing(make: Callable[[], ssl.SSLContext], identity: ClientIdentity) -> ssl.SSLContext:
    context = make()
    # OpenSSL reads files only, through Python: this one is in memory, without a name, and gone when closed.
    place = os.memfd_create("identity", os.MFD_CLOEXEC)
    try:
        with os.fdopen(place, "wb", closefd=False) as file:
            file.write((identity.chain + identity.private_key).encode())
        context.load_cert_chain(f"/proc/self/fd/{place}")
    finally:
        os.close(place)
    return context

"""The guarded HTTP transport: the only part of the engine that opens sockets to receivers."""

from delivery.transport.client import Transport
from delivery.transport.destination import (
    BadDestination,
    BadHeader,
    check_headers,
    check_url,
    refused_literal,
)
from delivery.transport.exchange import Exchange, Limits
from delivery.transport.faults import DestinationBlocked
from delivery.transport.guard import LAST_PORT, AllowList, BadAllowList, Guard, refusal
from delivery.transport.names import Lookup
from delivery.transport.proxy import BadProxy, Proxy
from delivery.transport.sources import BadSource, Sources
from delivery.transport.tls import verified_tls

__all__ = [
    "LAST_PORT",
    "AllowList",
    "BadAllowList",
    "BadDestination",
    "BadHeader",
    "BadProxy",
    "BadSource",
    "DestinationBlocked",
    "Exchange",
    "Guard",
    "Limits",
    "Lookup",
    "Proxy",
    "Sources",
    "Transport",
    "check_headers",
    "check_url",
    "refusal",
    "refused_literal",
    "verified_tls",
]

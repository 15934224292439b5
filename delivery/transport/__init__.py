"""The guarded HTTP transport: the only part of the engine that opens sockets to receivers."""

from delivery.transport.client import Transport, verified_tls
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

__all__ = [
    "LAST_PORT",
    "AllowList",
    "BadAllowList",
    "BadDestination",
    "BadHeader",
    "BadProxy",
    "DestinationBlocked",
    "Exchange",
    "Guard",
    "Limits",
    "Lookup",
    "Proxy",
    "Transport",
    "check_headers",
    "check_url",
    "refusal",
    "refused_literal",
    "verified_tls",
]

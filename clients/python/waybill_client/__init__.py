"""The producers' client: sends events to Waybill, again where that is safe, and never one twice.

It stands by itself: a service that sends events needs httpx and nothing of the engine.

    with Client("https://waybill.example", key) as waybill:
        waybill.send("order.created", {"order": 1042})
"""

from delivery.client.clients import AsyncClient, Client
from delivery.client.errors import (
    ClientError,
    Conflict,
    GaveUp,
    Invalid,
    NotAllowed,
    NotAuthenticated,
    NotFound,
    NotUnderstood,
    Problem,
    Refused,
    TooLarge,
    Unsendable,
)
from delivery.client.exchanges import Retries
from delivery.client.wire import Accepted, Event

__all__ = [
    "Accepted",
    "AsyncClient",
    "Client",
    "ClientError",
    "Conflict",
    "Event",
    "GaveUp",
    "Invalid",
    "NotAllowed",
    "NotAuthenticated",
    "NotFound",
    "NotUnderstood",
    "Problem",
    "Refused",
    "Retries",
    "TooLarge",
    "Unsendable",
]

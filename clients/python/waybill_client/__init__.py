"""The Python client of Waybill: send events, write them in your own transaction, verify webhooks.

    with Client("https://waybill.example", key) as waybill:
        waybill.send("order.created", {"order": 1042})

`waybill_client.outbox` needs the extra `outbox`, ed25519 keys (`whpk_…`) the extra `ed25519`.
"""

from waybill_client._signing import MalformedSecret, VerificationError, VerificationFailure, Verified
from waybill_client.clients import AsyncClient, Client
from waybill_client.errors import (
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
from waybill_client.events import Accepted, Event
from waybill_client.exchanges import Retries
from waybill_client.verification import Verifier, verify

__all__ = [
    "Accepted",
    "AsyncClient",
    "Client",
    "ClientError",
    "Conflict",
    "Event",
    "GaveUp",
    "Invalid",
    "MalformedSecret",
    "NotAllowed",
    "NotAuthenticated",
    "NotFound",
    "NotUnderstood",
    "Problem",
    "Refused",
    "Retries",
    "TooLarge",
    "Unsendable",
    "VerificationError",
    "VerificationFailure",
    "Verified",
    "Verifier",
    "verify",
]

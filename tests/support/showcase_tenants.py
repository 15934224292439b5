"""The showcase's tenants: three tenants, their events, and how their receivers behave.

Pure, but for dice that are brought along.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from zlib import crc32

from tests.support.webhook_partner import CannedResponse

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from random import Random

    from tests.support.webhook_partner import ReceivedCall

JSON = "Content-Type: application/json"
# Judged by nothing that a showcase could bring about.
_BREAKER_THAT_NEVER_OPENS = {"consecutive_failures": 100_000, "minimum_requests": 100_000}


@dataclass(frozen=True, slots=True)
class ShowcaseEndpoint:
    """One endpoint. `asked`: what is asked for when it is made; `takes`: milliseconds, usually.

    `has_past`: it did well for a day, before the showcase began. `is_off`: nobody listens there now.
    """

    name: str
    description: str
    filter: tuple[str, ...]
    latency_ms: int = 40
    options: Mapping[str, Any] = field(default_factory=dict)
    has_history: bool = True
    is_down: bool = False


@dataclass(frozen=True, slots=True)
class ShowcaseTenant:
    """One tenant: its endpoints, and the frequency of its event types."""

    handle: str
    name: str
    type_weights: Mapping[str, int]
    endpoints: tuple[ShowcaseEndpoint, ...]


NORTHWIND = ShowcaseTenant(
    "northwind",
    "Northwind Outfitters",
    {"order.created": 6, "order.paid": 5, "order.shipped": 2, "order.refunded": 1},
    (
        ShowcaseEndpoint("warehouse", "Warehouse: picks, packs and ships", ("order.*",), 35),
        ShowcaseEndpoint("billing", "Billing: invoices and refunds", ("order.paid", "order.refunded"), 60,
             {"permanent_statuses": [422]}),
        ShowcaseEndpoint("storefront", "Storefront: tells customers where their parcel is",
             ("order.shipped",), 900, {"timeout_seconds": 10}),
        ShowcaseEndpoint("erp", "The old ERP, until spring", ("order.created",), 180,
             {"schedule": [0, 5, 900, 3_600], "breaker": {
                 "consecutive_failures": 5, "cool_down_seconds": 1_800, "longest_cool_down_seconds": 3_600}}),
        ShowcaseEndpoint("affiliate", "Affiliate network of last year's campaign", ("order.paid",), 90),
        ShowcaseEndpoint("returns", "Returns desk", ("order.refunded",), 75),
        ShowcaseEndpoint("operations", "What Waybill has to say, to our own chat", ("endpoint.*",), 30,
             {"operational": True, "signature": "v1a"}, has_history=False),
    ),
)  # fmt: skip
LUMEN = ShowcaseTenant(
    "lumen",
    "Lumen Profiles",
    {"profile.created": 3, "profile.updated": 6, "profile.merged": 1, "consent.changed": 3},
    (
        ShowcaseEndpoint("crm", "CRM: contacts and their history", ("profile.*",), 50,
             {"headers": {"X-Workspace": "lumen-live"}}),
        ShowcaseEndpoint("search", "Search index: not more than it can take", ("profile.updated",), 25,
             {"rate_limit": {"limit": 12, "per_seconds": 60}}),
        ShowcaseEndpoint("analytics", "Analytics: profiles and consents", ("profile.*", "consent.*"), 110),
        ShowcaseEndpoint("consents", "Archive of consents", ("consent.*",), 70,
             {"schedule": [0, 1, 2, 5, 300]}),
    ),
)  # fmt: skip
BRAMBLE = ShowcaseTenant(
    "bramble",
    "Bramble & Moss Mailings",
    {"email.opened": 14, "email.clicked": 1, "email.bounced": 1},
    (
        ShowcaseEndpoint("opens", "Counts what was opened", ("email.opened",), 20),
        ShowcaseEndpoint("clicks", "Follows clicks; often too busy to answer", ("email.clicked",), 240,
             {"timeout_seconds": 1, "schedule": [0], "breaker": _BREAKER_THAT_NEVER_OPENS}),
        ShowcaseEndpoint("bounces", "Suppression list, on a machine that is off", ("email.bounced",), 45,
             {"schedule": [0, 900, 3_600, 7_200], "breaker": _BREAKER_THAT_NEVER_OPENS}, is_down=True),
    ),
)  # fmt: skip
SHOWCASE_TENANTS = (NORTHWIND, LUMEN, BRAMBLE)


class ShowcaseReceivers:
    """The response of each path; `put_right` repairs one. A path is `/shop/part`."""

    def __init__(self) -> None:
        self._seen: Counter[tuple[str, str]] = Counter()
        self._right: set[str] = set()
        self._takes = {
            f"/{shop.handle}/{part.name}": part.latency_ms
            for shop in SHOWCASE_TENANTS
            for part in shop.endpoints
        }
        self._manners: dict[str, Callable[[ReceivedCall, int, float], CannedResponse]] = {
            "/northwind/billing": _answer_422,
            "/northwind/erp": _answer_503,
            "/northwind/affiliate": _answer_410,
            "/lumen/consents": _fail_first_attempt,
            "/bramble/clicks": _answer_late,
        }

    def __call__(self, call: ReceivedCall) -> CannedResponse:
        """Answer one request with the receiver's response and latency."""
        path = call.path.partition("?")[0]
        delay = self._takes.get(path, 20) / 1_000 * (0.6 + _hash_to_unit(call) ** 3 * 2)
        self._seen[path, call.message_id] += 1
        manner = self._manners.get(path)
        if manner is None or path in self._right:
            return CannedResponse(200, delay, (JSON,), b'{"received":true}')
        return manner(call, self._seen[path, call.message_id], delay)

    def set_behaviour(
        self, path: str, behaviour: Callable[[ReceivedCall, int, float], CannedResponse]
    ) -> None:
        """Set how a path answers; the function gets the call, its count, and the latency."""
        self._manners[path] = behaviour
        self._right.discard(path)

    def repair(self, path: str) -> None:
        """Let this receiver succeed from now on."""
        self._right.add(path)


def make_event(type_: str, rng: Random, number: int) -> dict[str, Any]:
    """An event as a producer sends it."""
    noun = type_.partition(".")[0]
    return {"type": type_, "data": _DATA_FACTORIES[noun](rng, number)}


def list_weighted_types(tenant: ShowcaseTenant) -> list[str]:
    """The tenant's types, repeated by frequency."""
    return [type_ for type_, share in tenant.type_weights.items() for _ in range(share)]


def _make_order(rng: Random, number: int) -> dict[str, Any]:
    cents, pieces = rng.randrange(1_200, 24_000), rng.randrange(1, 4)
    return {
        "order": {
            "id": f"N-{10_000 + number}",
            "total": f"{cents / 100:.2f}",
            "currency": rng.choice(("EUR", "GBP", "SEK")),
            "customer": {
                "id": f"c-{rng.randrange(4_000)}",
                "country": rng.choice(("DE", "GB", "SE", "NL")),
            },
            "lines": [
                {"sku": rng.choice(("TENT-2P", "STOVE-S", "ROPE-60", "MUG-TI")), "quantity": 1 + piece}
                for piece in range(pieces)
            ],
        }
    }


def _make_profile(rng: Random, number: int) -> dict[str, Any]:
    changed = sorted(rng.sample(("e-mail", "name", "address", "language", "segment"), 2))
    return {"profile": {"id": f"p-{40_000 + number}", "version": rng.randrange(1, 30), "changed": changed}}


def _make_consent(rng: Random, number: int) -> dict[str, Any]:
    given = rng.random() < 0.7
    return {
        "profile": f"p-{40_000 + number}",
        "purpose": rng.choice(("newsletter", "research")),
        "given": given,
    }


def _make_email(rng: Random, number: int) -> dict[str, Any]:
    return {
        "message": f"m-{70_000 + number}",
        "campaign": rng.choice(("spring-sale", "welcome-3", "receipts")),
        "client": rng.choice(("Apple Mail", "Gmail", "Thunderbird")),
    }


_DATA_FACTORIES: Mapping[str, Callable[[Random, int], dict[str, Any]]] = {
    "order": _make_order,
    "profile": _make_profile,
    "consent": _make_consent,
    "email": _make_email,
}


def _hash_to_unit(call: ReceivedCall) -> float:
    """A number from 0 to 1, the same for every attempt at one event."""
    return crc32(call.message_id.encode()) % 1_000 / 1_000


def _answer_422(_call: ReceivedCall, _times: int, delay: float) -> CannedResponse:
    why = {"error": "unknown field", "field": "data.order.currency", "release": "4.12.0"}
    return CannedResponse(422, delay, (JSON,), json.dumps(why).encode())


def _answer_503(_call: ReceivedCall, _times: int, delay: float) -> CannedResponse:
    page = b"<html><h1>503 Service Unavailable</h1><p>No server is available.</p></html>"
    return CannedResponse(503, delay, ("Content-Type: text/html", "Server: haproxy"), page)


def _answer_410(_call: ReceivedCall, _times: int, delay: float) -> CannedResponse:
    return CannedResponse(410, delay, (JSON,), b'{"error":"campaign is over"}')


def _fail_first_attempt(call: ReceivedCall, times: int, delay: float) -> CannedResponse:
    if times == 1 and _hash_to_unit(call) < 0.4:
        return CannedResponse(500, delay, ("Content-Type: text/plain",), b"deadlock detected, try again")
    return CannedResponse(200, delay, (JSON,), b'{"received":true}')


def _answer_late(_call: ReceivedCall, _times: int, _delay: float) -> CannedResponse:
    return CannedResponse(200, 3.0)

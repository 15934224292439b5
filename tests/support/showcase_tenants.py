"""Who is in the showcase: three tenants, what happens there, and how their partners' receivers behave.

Pure, but for dice that are brought along.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from zlib import crc32

from tests.support.partner import Answer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from random import Random

    from tests.support.partner import Call

JSON = "Content-Type: application/json"
# Judged by nothing that a showcase could bring about.
_NEVER_OPENS = {"consecutive_failures": 100_000, "minimum_requests": 100_000}


@dataclass(frozen=True, slots=True)
class Part:
    """One endpoint. `asked`: what is asked for when it is made; `takes`: milliseconds, usually.

    `has_past`: it did well for a day, before the showcase began. `is_off`: nobody listens there now.
    """

    name: str
    description: str
    filter: tuple[str, ...]
    takes: int = 40
    asked: Mapping[str, Any] = field(default_factory=dict)
    has_past: bool = True
    is_off: bool = False


@dataclass(frozen=True, slots=True)
class Shop:
    """One tenant: its endpoints, and which types of event happen how often."""

    handle: str
    name: str
    types: Mapping[str, int]
    parts: tuple[Part, ...]


NORTHWIND = Shop(
    "northwind",
    "Northwind Outfitters",
    {"order.created": 6, "order.paid": 5, "order.shipped": 2, "order.refunded": 1},
    (
        Part("warehouse", "Warehouse: picks, packs and ships", ("order.*",), 35),
        Part("billing", "Billing: invoices and refunds", ("order.paid", "order.refunded"), 60,
             {"permanent_statuses": [422]}),
        Part("storefront", "Storefront: tells customers where their parcel is", ("order.shipped",), 900,
             {"timeout_seconds": 10}),
        Part("erp", "The old ERP, until spring", ("order.created",), 180,
             {"schedule": [0, 5, 900, 3_600], "breaker": {
                 "consecutive_failures": 5, "cool_down_seconds": 1_800, "longest_cool_down_seconds": 3_600}}),
        Part("affiliate", "Affiliate network of last year's campaign", ("order.paid",), 90),
        Part("returns", "Returns desk", ("order.refunded",), 75),
        Part("operations", "What Waybill has to say, to our own chat", ("endpoint.*",), 30,
             {"operational": True, "signature": "v1a"}, has_past=False),
    ),
)  # fmt: skip
LUMEN = Shop(
    "lumen",
    "Lumen Profiles",
    {"profile.created": 3, "profile.updated": 6, "profile.merged": 1, "consent.changed": 3},
    (
        Part("crm", "CRM: contacts and their history", ("profile.*",), 50,
             {"headers": {"X-Workspace": "lumen-live"}}),
        Part("search", "Search index: not more than it can take", ("profile.updated",), 25,
             {"rate_limit": {"limit": 12, "per_seconds": 60}}),
        Part("analytics", "Analytics: profiles and consents", ("profile.*", "consent.*"), 110),
        Part("consents", "Archive of consents", ("consent.*",), 70, {"schedule": [0, 1, 2, 5, 300]}),
    ),
)  # fmt: skip
BRAMBLE = Shop(
    "bramble",
    "Bramble & Moss Mailings",
    {"email.opened": 14, "email.clicked": 1, "email.bounced": 1},
    (
        Part("opens", "Counts what was opened", ("email.opened",), 20),
        Part("clicks", "Follows clicks; often too busy to answer", ("email.clicked",), 240,
             {"timeout_seconds": 1, "schedule": [0], "breaker": _NEVER_OPENS}),
        Part("bounces", "Suppression list, on a machine that is off", ("email.bounced",), 45,
             {"schedule": [0, 900, 3_600, 7_200], "breaker": _NEVER_OPENS}, is_off=True),
    ),
)  # fmt: skip
SHOPS = (NORTHWIND, LUMEN, BRAMBLE)


class Receivers:
    """How each path answers; `put_right` ends what was wrong with one. A path is `/shop/part`."""

    def __init__(self) -> None:
        self._seen: Counter[tuple[str, str]] = Counter()
        self._right: set[str] = set()
        self._takes = {f"/{shop.handle}/{part.name}": part.takes for shop in SHOPS for part in shop.parts}
        self._manners: dict[str, Callable[[Call, int, float], Answer]] = {
            "/northwind/billing": _refuses,
            "/northwind/erp": _is_down,
            "/northwind/affiliate": _is_gone,
            "/lumen/consents": _fails_at_first,
            "/bramble/clicks": _is_too_busy,
        }

    def __call__(self, call: Call) -> Answer:
        """Answer one request: as that receiver does, after as long as it takes."""
        path = call.path.partition("?")[0]
        delay = self._takes.get(path, 20) / 1_000 * (0.6 + _share(call) ** 3 * 2)
        self._seen[path, call.message_id] += 1
        manner = self._manners.get(path)
        if manner is None or path in self._right:
            return Answer(200, delay, (JSON,), b'{"received":true}')
        return manner(call, self._seen[path, call.message_id], delay)

    def behave(self, path: str, manner: Callable[[Call, int, float], Answer]) -> None:
        """Let a path answer so: it is told the call, how often that came, and how long it takes."""
        self._manners[path] = manner
        self._right.discard(path)

    def put_right(self, path: str) -> None:
        """From now on this one is well."""
        self._right.add(path)


def event_of(type_: str, dice: Random, number: int) -> dict[str, Any]:
    """Something that happened, as a producer tells it."""
    noun = type_.partition(".")[0]
    return {"type": type_, "data": _DATA[noun](dice, number)}


def types_of(shop: Shop) -> list[str]:
    """Its types, each as often as it is more usual than others."""
    return [type_ for type_, share in shop.types.items() for _ in range(share)]


def _order(dice: Random, number: int) -> dict[str, Any]:
    cents, pieces = dice.randrange(1_200, 24_000), dice.randrange(1, 4)
    return {
        "order": {
            "id": f"N-{10_000 + number}",
            "total": f"{cents / 100:.2f}",
            "currency": dice.choice(("EUR", "GBP", "SEK")),
            "customer": {
                "id": f"c-{dice.randrange(4_000)}",
                "country": dice.choice(("DE", "GB", "SE", "NL")),
            },
            "lines": [
                {"sku": dice.choice(("TENT-2P", "STOVE-S", "ROPE-60", "MUG-TI")), "quantity": 1 + piece}
                for piece in range(pieces)
            ],
        }
    }


def _profile(dice: Random, number: int) -> dict[str, Any]:
    changed = sorted(dice.sample(("e-mail", "name", "address", "language", "segment"), 2))
    return {"profile": {"id": f"p-{40_000 + number}", "version": dice.randrange(1, 30), "changed": changed}}


def _consent(dice: Random, number: int) -> dict[str, Any]:
    given = dice.random() < 0.7
    return {
        "profile": f"p-{40_000 + number}",
        "purpose": dice.choice(("newsletter", "research")),
        "given": given,
    }


def _email(dice: Random, number: int) -> dict[str, Any]:
    return {
        "message": f"m-{70_000 + number}",
        "campaign": dice.choice(("spring-sale", "welcome-3", "receipts")),
        "client": dice.choice(("Apple Mail", "Gmail", "Thunderbird")),
    }


_DATA: Mapping[str, Callable[[Random, int], dict[str, Any]]] = {
    "order": _order,
    "profile": _profile,
    "consent": _consent,
    "email": _email,
}


def _share(call: Call) -> float:
    """Somewhere from 0 to 1, the same for every attempt at one event."""
    return crc32(call.message_id.encode()) % 1_000 / 1_000


def _refuses(_call: Call, _times: int, delay: float) -> Answer:
    why = {"error": "unknown field", "field": "data.order.currency", "release": "4.12.0"}
    return Answer(422, delay, (JSON,), json.dumps(why).encode())


def _is_down(_call: Call, _times: int, delay: float) -> Answer:
    page = b"<html><h1>503 Service Unavailable</h1><p>No server is available.</p></html>"
    return Answer(503, delay, ("Content-Type: text/html", "Server: haproxy"), page)


def _is_gone(_call: Call, _times: int, delay: float) -> Answer:
    return Answer(410, delay, (JSON,), b'{"error":"campaign is over"}')


def _fails_at_first(call: Call, times: int, delay: float) -> Answer:
    if times == 1 and _share(call) < 0.4:
        return Answer(500, delay, ("Content-Type: text/plain",), b"deadlock detected, try again")
    return Answer(200, delay, (JSON,), b'{"received":true}')


def _is_too_busy(_call: Call, _times: int, _delay: float) -> Answer:
    return Answer(200, 3.0)

"""An engine filled for show: three tenants, endpoints in every state, replays, an audit.

Everything is done through the doors of a running engine, and real receivers answer. `FULL` has a day of
history besides, for pictures; `SMALL` is for tests, and has a hostile tenant.
"""

from __future__ import annotations

import socket
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from delivery.clock import clock
from delivery.domain.ids import EndpointId, Prefix, TenantId, parse_id
from signing import parse_secret
from tests.support import hostile_tenant, showcase_history
from tests.support.api import Api
from tests.support.console_users import create_accounts
from tests.support.showcase_tenants import (
    SHOWCASE_TENANTS,
    ShowcaseEndpoint,
    ShowcaseReceivers,
    ShowcaseTenant,
    list_weighted_types,
    make_event,
)
from tests.support.stack import OPERATOR_KEY, WAYBILL, Stack, wait_until
from tests.support.webhook_partner import Partner

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

TIMEOUT_SECONDS = 90
SEED = 20_261_125
PUBLISH_BATCH_SIZE = 10
# Endpoints that will have been sent all they were owed, well or not.
_SETTLED_ENDPOINTS = (
    "northwind/warehouse", "northwind/billing", "northwind/storefront", "lumen/crm", "lumen/analytics",
    "lumen/consents", "bramble/opens", "bramble/clicks", "bramble/unsubscribes",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ShowcaseSize:
    """The size of a showcase: events published, events per past day, and a hostile tenant or not."""

    events: int
    past_per_day: int = 0
    with_hostile_tenant: bool = False


SMALL_SHOWCASE = ShowcaseSize(events=150, with_hostile_tenant=True)
FULL_SHOWCASE = ShowcaseSize(events=120, past_per_day=6_000)


@dataclass(frozen=True, slots=True)
class TenantAccess:
    """One tenant: its id and its API client."""

    id: str
    api: Api


@dataclass(slots=True)
class Showcase:
    """A running showcase. Tenants are named like `northwind`, endpoints like `northwind/billing`."""

    url: str
    operator: Api
    partner: Partner
    receivers: ShowcaseReceivers
    dead_url: str
    started_at: datetime
    tenants: dict[str, TenantAccess] = field(default_factory=dict)
    endpoints: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    replays: dict[str, str] = field(default_factory=dict)

    def get_api(self, name: str) -> Api:
        """The API client of this tenant, or of the tenant of this endpoint."""
        return self.tenants[name.partition("/")[0]].api

    def get_receiver_url(self, name: str) -> str:
        """The URL of the receiver of this name."""
        return f"http://127.0.0.1:{self.partner.port}/{name}"

    def list_deliveries(self, endpoint: str, **filters: str | list[str]) -> list[Any]:
        """The deliveries to an endpoint that match these filters, newest first, at most a hundred."""
        return list(self._search("/v1/deliveries", endpoint, limit="100", **filters)["items"])

    def get_delivery_id(self, endpoint: str, **filters: str | list[str]) -> str:
        """The id of the newest matching delivery; raises IndexError if there is none."""
        return str(self.list_deliveries(endpoint, **filters)[0]["id"])

    def count_deliveries(self, endpoint: str, **filters: str | list[str]) -> int:
        """The number of deliveries to an endpoint that match these filters."""
        return int(self._search("/v1/deliveries/count", endpoint, **filters)["count"])

    def _search(self, path: str, endpoint: str, **filters: str | list[str]) -> Any:
        query = urlencode({"endpoint": self.endpoints[endpoint], **filters}, doseq=True)
        return self.get_api(endpoint).get(f"{path}?{query}")


@contextmanager
def run_showcase(stack: Stack, size: ShowcaseSize = SMALL_SHOWCASE) -> Iterator[Showcase]:
    """Start a stopped stack and fill it; receivers respond until the end.

    If there is a past, no browser may run in this thread yet.
    """
    receivers = ShowcaseReceivers()
    with ExitStack() as exits:
        partner = exits.enter_context(Partner(receivers))
        nowhere = exits.enter_context(_reserve_dead_url())
        stack.serve("web")
        url = f"http://127.0.0.1:{stack.port}"
        shown = Showcase(url, Api(url, OPERATOR_KEY), partner, receivers, nowhere, clock())
        for shop in SHOWCASE_TENANTS:
            _create_tenant_with_endpoints(shown, shop)
        _declare_event_types(shown)
        if size.past_per_day:
            _write_history(stack, shown, size.past_per_day)
        stack.serve("relay", "worker")
        _make_operator_changes(stack, shown)
        _publish_events(shown, size.events)
        if size.with_hostile_tenant:
            _add_hostile_tenant(shown)
        _wait_until_settled(shown)
        _start_replays(shown)
        yield shown


# ------------------------------------------------------------------ who there is
def _create_tenant_with_endpoints(shown: Showcase, shop: ShowcaseTenant) -> None:
    create_tenant(shown, shop.handle, shop.name)
    for part in shop.endpoints:
        create_endpoint(shown, f"{shop.handle}/{part.name}", _build_endpoint_request(shown, shop, part))


def _declare_event_types(shown: Showcase) -> None:
    """Register a validated type in its second version, and a deprecated one."""
    order = {"type": "object", "properties": {"message": {"type": "string"}}}
    said = {"description": "Somebody has ordered something.", "schema": order}
    shown.operator.put("/v1/event-types/order.created", said)
    shown.operator.put(
        "/v1/event-types/order.created", {**said, "examples": [{"message": "m-1"}], "validation": "reject"}
    )
    shown.operator.put("/v1/event-types/order.placed", {"examples": [{"order": 1042}]})
    changes = {"deprecated": {"until": "2031-06-30T00:00:00Z", "replaced_by": "order.created"}}
    shown.operator.patch("/v1/event-types/order.placed", changes)


def create_tenant(shown: Showcase, handle: str, name: str, *, key_name: str = "production") -> None:
    """Create a tenant with a key, and a second key that is revoked."""
    id_ = str(shown.operator.post("/v1/tenants", {"name": name})["id"])
    path = f"/v1/tenants/{id_}/keys"
    old = shown.operator.post(path, {"name": "the first one"})["id"]
    key = str(shown.operator.post(path, {"name": key_name})["key"])
    shown.operator.delete(f"{path}/{old}?reason=it+was+in+a+log")
    shown.tenants[handle] = TenantAccess(id_, Api(shown.url, key))


def _build_endpoint_request(shown: Showcase, shop: ShowcaseTenant, part: ShowcaseEndpoint) -> dict[str, Any]:
    url = shown.dead_url if part.is_down else shown.get_receiver_url(f"{shop.handle}/{part.name}")
    return {"url": url, "description": part.description, "filter": list(part.filter), **part.options}


def create_endpoint(shown: Showcase, name: str, request: Mapping[str, Any]) -> None:
    """Create an endpoint and store its id and secret under this name."""
    made = shown.get_api(name).post("/v1/endpoints", request)
    shown.endpoints[name] = str(made["id"])
    shown.secrets[name] = str(made["secret"])


def _write_history(stack: Stack, shown: Showcase, a_day: int) -> None:
    """Write a past in which nearly everything succeeded. Must run before anything is sent."""
    dice = Random(SEED)  # noqa: S311  nothing is secret here
    happened = showcase_history.ShowcaseHistory(
        clock(), dice, {flow.id: flow for flow in _iter_endpoint_histories(shown)}
    )
    for number, moment in enumerate(showcase_history.make_event_times(happened.now, dice, per_day=a_day)):
        shop = dice.choice(SHOWCASE_TENANTS)
        event = make_event(dice.choice(list_weighted_types(shop)), dice, number)
        owner = TenantId(parse_id(Prefix.TENANT, shown.tenants[shop.handle].id))
        happened.add_event(moment, owner, event["type"], event["data"])
    showcase_history.write_history(stack.database_url, happened)
    showcase_history.backdate_rows(stack.database_url, happened)


def _iter_endpoint_histories(shown: Showcase) -> Iterator[showcase_history.EndpointHistory]:
    for shop in SHOWCASE_TENANTS:
        for part in shop.endpoints:
            name = f"{shop.handle}/{part.name}"
            if part.has_history:
                yield showcase_history.EndpointHistory(
                    EndpointId(parse_id(Prefix.ENDPOINT, shown.endpoints[name])),
                    TenantId(parse_id(Prefix.TENANT, shown.tenants[shop.handle].id)),
                    part.filter,
                    str(_build_endpoint_request(shown, shop, part)["url"]),
                    part.latency_ms,
                    parse_secret(shown.secrets[name]),
                )


# ------------------------------------------------------------------ what happens
def _make_operator_changes(stack: Stack, shown: Showcase) -> None:
    """User actions of today: accounts, a pause, a rotated secret, a disabled endpoint."""
    create_accounts(stack)
    stack.run(
        str(WAYBILL), "endpoint", "pause", shown.endpoints["northwind/returns"],
        "--tenant", shown.tenants["northwind"].id,
        "--reason", "Moving to a new data centre; back on Thursday",
    )  # fmt: skip
    rotation = {"overlap_hours": 48, "reason": "yearly rotation"}
    shown.get_api("lumen").post(
        f"/v1/endpoints/{shown.endpoints['lumen/analytics']}/secrets/rotate", rotation
    )
    url, bramble = shown.get_receiver_url("bramble/unsubscribes"), shown.get_api("bramble")
    old = {"url": url, "filter": ["email.unsubscribed"], "description": "Before the suppression list"}
    create_endpoint(shown, "bramble/unsubscribes", old)
    path = f"/v1/endpoints/{shown.endpoints['bramble/unsubscribes']}"
    bramble.post(f"{path}/pause", {"reason": "about to be replaced"})
    left = [{"type": "email.unsubscribed", "data": {"message": f"m-{number}"}} for number in range(4)]
    bramble.post("/v1/events/batch", {"events": left})
    bramble.delete(f"{path}?reason=replaced+by+the+suppression+list")


def _publish_events(shown: Showcase, count: int) -> None:
    """Publish events of every type, tenant by tenant: one with an idempotency key, then a batch."""
    dice = Random(SEED)  # noqa: S311  nothing is secret here
    for first in range(0, count // len(SHOWCASE_TENANTS), PUBLISH_BATCH_SIZE):
        for shop in SHOWCASE_TENANTS:
            kinds, api = list_weighted_types(shop), shown.get_api(shop.handle)
            numbers = range(first, first + PUBLISH_BATCH_SIZE)
            one, *more = [make_event(kinds[number % len(kinds)], dice, number) for number in numbers]
            api.post("/v1/events", one, Idempotency_Key=f"{shop.handle}-2026-{first}")
            api.post("/v1/events/batch", {"events": more})


def _add_hostile_tenant(shown: Showcase) -> None:
    """Create a tenant whose texts are all scripts, with a refusing and a paused endpoint."""
    shown.receivers.set_behaviour("/hostile/refusing", hostile_tenant.refuse_with_scripts)
    create_tenant(shown, "hostile", hostile_tenant.NAME, key_name=hostile_tenant.SCRIPT)
    for name in ("hostile/refusing", "hostile/paused"):
        create_endpoint(shown, name, hostile_tenant.make_hostile_endpoint(shown.get_receiver_url(name)))
    api = shown.get_api("hostile")
    api.post(f"/v1/endpoints/{shown.endpoints['hostile/paused']}/pause", {"reason": hostile_tenant.REASON})
    for number, event in enumerate(hostile_tenant.make_hostile_events()):
        api.post("/v1/events", event, Idempotency_Key=f"{hostile_tenant.KEY}{number}")
    words = {
        "description": hostile_tenant.DESCRIPTION,
        "schema": {"title": hostile_tenant.SCRIPT},
        "examples": [hostile_tenant.IMAGE],
    }
    shown.operator.put("/v1/event-types/hostile.words", words)
    _wait_for_count(shown, "hostile/refusing", len(hostile_tenant.make_hostile_events()), status="failed")
    _create_replay(
        shown, "hostile", {"endpoint": [shown.endpoints["hostile/refusing"]]}, hostile_tenant.REASON
    )
    _wait_for_replay(shown, "hostile")


def _wait_until_settled(shown: Showcase) -> None:
    """Wait until every endpoint has reached its state."""
    for name in _SETTLED_ENDPOINTS:
        _wait_for_count(shown, name, 0, status=["pending", "in_flight"])
    erp = f"/v1/endpoints/{shown.endpoints['northwind/erp']}/health"
    affiliate = f"/v1/endpoints/{shown.endpoints['northwind/affiliate']}"
    api = shown.get_api("northwind")
    wait_until(lambda: api.get(erp)["breaker"]["state"] == "open", "an open breaker", seconds=TIMEOUT_SECONDS)
    wait_until(
        lambda: api.get(affiliate)["state"] == "disabled", "a disabled endpoint", seconds=TIMEOUT_SECONDS
    )
    wait_until(
        lambda: shown.count_deliveries("bramble/bounces", outcome="unreachable") > 0,
        "bounces",
        seconds=TIMEOUT_SECONDS,
    )


def _start_replays(shown: Showcase) -> None:
    """Repair billing and replay its failures; replay everything to the warehouse slowly."""
    shown.receivers.repair("/northwind/billing")
    refused = {"endpoint": [shown.endpoints["northwind/billing"]], "status": ["failed"], "response": ["422"]}
    _create_replay(
        shown, "northwind/billing", refused, "Their release 4.12.0 refused our currencies; 4.12.1 takes them"
    )
    _wait_for_replay(shown, "northwind/billing")

    again = {
        "endpoint": [shown.endpoints["northwind/warehouse"]],
        "status": ["succeeded"],
        "since": shown.started_at.isoformat(),
    }
    _create_replay(
        shown, "northwind/warehouse", again, "The warehouse went back to its backup of last night", rate=4
    )
    path, api = f"/v1/replays/{shown.replays['northwind/warehouse']}", shown.get_api("northwind")
    wait_until(
        lambda: api.get(path)["progress"]["succeeded"] > 0, "a replay to begin", seconds=TIMEOUT_SECONDS
    )
    api.post(f"{path}/pause", {"reason": "Their night shift first"})

    one = shown.get_delivery_id("bramble/opens", status="succeeded")
    shown.get_api("bramble").post(f"/v1/deliveries/{one}/replay", {"reason": "They lost it"})
    erased = shown.list_deliveries("lumen/consents", status="succeeded")[-1]["event_id"]
    shown.get_api("lumen").delete(f"/v1/events/{erased}/content?reason=asked+for+by+the+customer")


# ------------------------------------------------------------------ small things
def _create_replay(
    shown: Showcase, name: str, selection: Mapping[str, Any], reason: str, *, rate: float | None = None
) -> None:
    asked = {"selection": selection, "reason": reason, "rate": rate}
    shown.replays[name] = str(shown.get_api(name).post("/v1/replays", asked)["id"])


def _wait_for_replay(shown: Showcase, name: str) -> None:
    path, api = f"/v1/replays/{shown.replays[name]}", shown.get_api(name)
    wait_until(lambda: api.get(path)["state"] == "finished", f"the replay of {name}", seconds=TIMEOUT_SECONDS)


def _wait_for_count(shown: Showcase, name: str, count: int, **filters: str | list[str]) -> None:
    wait_until(
        lambda: shown.count_deliveries(name, **filters) == count,
        f"{count} {filters} of {name}",
        seconds=TIMEOUT_SECONDS,
    )


@contextmanager
def _reserve_dead_url() -> Iterator[str]:
    """A URL at which nothing listens, reserved so that nothing else can."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}/suppressed"

"""An engine with something to show: three tenants, endpoints in every state, replays, an audit.

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

from delivery.bootstrap import clock
from delivery.model import EndpointId, Prefix, TenantId, parse_id
from signing import parse_secret
from tests.support import hostile, past
from tests.support.api import Api
from tests.support.cast import SHOPS, Part, Receivers, Shop, event_of, types_of
from tests.support.partner import Partner
from tests.support.stack import OPERATOR_KEY, WAYBILL, Stack, wait_until
from tests.support.staff import take_on

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

PATIENCE = 90
SEED = 20_261_125
AT_ONCE = 10
# Endpoints that will have been sent all they were owed, well or not.
_ENDING = (
    "northwind/warehouse", "northwind/billing", "northwind/storefront", "lumen/crm", "lumen/analytics",
    "lumen/consents", "bramble/opens", "bramble/clicks", "bramble/unsubscribes",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is shown: events that are published, events a day of the past, whether somebody is hostile."""

    events: int
    past: int = 0
    hostile: bool = False


SMALL = Scale(events=150, hostile=True)
FULL = Scale(events=120, past=6_000)


@dataclass(frozen=True, slots=True)
class Owner:
    """One tenant: its id, and its own caller."""

    id: str
    api: Api


@dataclass(slots=True)
class Showcase:
    """What is shown, by names: a tenant's is as `northwind`, an endpoint's as `northwind/billing`."""

    url: str
    operator: Api
    partner: Partner
    receivers: Receivers
    nowhere: str
    began: datetime
    owners: dict[str, Owner] = field(default_factory=dict)
    endpoints: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    replays: dict[str, str] = field(default_factory=dict)

    def api(self, name: str) -> Api:
        """The caller of the tenant that has this endpoint, or of this tenant."""
        return self.owners[name.partition("/")[0]].api

    def address(self, name: str) -> str:
        """Where the receiver of this name answers."""
        return f"http://127.0.0.1:{self.partner.port}/{name}"

    def deliveries(self, endpoint: str, **filters: str | list[str]) -> list[Any]:
        """The deliveries to an endpoint that meet these filters, newest first, a hundred at most."""
        return list(self._search("/v1/deliveries", endpoint, limit="100", **filters)["items"])

    def delivery(self, endpoint: str, **filters: str | list[str]) -> str:
        """The id of the newest of them; raises IndexError when there is none."""
        return str(self.deliveries(endpoint, **filters)[0]["id"])

    def count(self, endpoint: str, **filters: str | list[str]) -> int:
        """How many deliveries to an endpoint meet these filters."""
        return int(self._search("/v1/deliveries/count", endpoint, **filters)["count"])

    def _search(self, path: str, endpoint: str, **filters: str | list[str]) -> Any:
        query = urlencode({"endpoint": self.endpoints[endpoint], **filters}, doseq=True)
        return self.api(endpoint).get(f"{path}?{query}")


@contextmanager
def showing(stack: Stack, scale: Scale = SMALL) -> Iterator[Showcase]:
    """Serve a stack of which nothing runs yet, and fill it; receivers answer until the end.

    If there is a past, no browser may run in this thread yet.
    """
    receivers = Receivers()
    with ExitStack() as exits:
        partner = exits.enter_context(Partner(receivers))
        nowhere = exits.enter_context(_nowhere())
        stack.serve("web")
        url = f"http://127.0.0.1:{stack.port}"
        shown = Showcase(url, Api(url, OPERATOR_KEY), partner, receivers, nowhere, clock())
        for shop in SHOPS:
            _open(shown, shop)
        _declare(shown)
        if scale.past:
            _have_past(stack, shown, scale.past)
        stack.serve("relay", "worker")
        _change(stack, shown)
        _publish(shown, scale.events)
        if scale.hostile:
            _let_in_the_hostile(shown)
        _settle(shown)
        _ask_again(shown)
        yield shown


# ------------------------------------------------------------------ who there is
def _open(shown: Showcase, shop: Shop) -> None:
    own(shown, shop.handle, shop.name)
    for part in shop.parts:
        make(shown, f"{shop.handle}/{part.name}", _asked(shown, shop, part))


def _declare(shown: Showcase) -> None:
    """A type in its second version that events are held against, and one that is deprecated."""
    order = {"type": "object", "properties": {"message": {"type": "string"}}}
    said = {"description": "Somebody has ordered something.", "schema": order}
    shown.operator.put("/v1/event-types/order.created", said)
    shown.operator.put(
        "/v1/event-types/order.created", {**said, "examples": [{"message": "m-1"}], "validation": "reject"}
    )
    shown.operator.put("/v1/event-types/order.placed", {"examples": [{"order": 1042}]})
    changes = {"deprecated": {"until": "2031-06-30T00:00:00Z", "replaced_by": "order.created"}}
    shown.operator.patch("/v1/event-types/order.placed", changes)


def own(shown: Showcase, handle: str, name: str, *, key_name: str = "production") -> None:
    """Make a tenant with a key, and one more that is not used any more."""
    id_ = str(shown.operator.post("/v1/tenants", {"name": name})["id"])
    path = f"/v1/tenants/{id_}/keys"
    old = shown.operator.post(path, {"name": "the first one"})["id"]
    key = str(shown.operator.post(path, {"name": key_name})["key"])
    shown.operator.delete(f"{path}/{old}?reason=it+was+in+a+log")
    shown.owners[handle] = Owner(id_, Api(shown.url, key))


def _asked(shown: Showcase, shop: Shop, part: Part) -> dict[str, Any]:
    url = shown.nowhere if part.is_off else shown.address(f"{shop.handle}/{part.name}")
    return {"url": url, "description": part.description, "filter": list(part.filter), **part.asked}


def make(shown: Showcase, name: str, asked: Mapping[str, Any]) -> None:
    """Make an endpoint, and know its id and its secret by this name."""
    made = shown.api(name).post("/v1/endpoints", asked)
    shown.endpoints[name] = str(made["id"])
    shown.secrets[name] = str(made["secret"])


def _have_past(stack: Stack, shown: Showcase, a_day: int) -> None:
    """Hours in which nearly all went well. Nothing may have been sent yet."""
    dice = Random(SEED)  # noqa: S311  nothing is secret here
    happened = past.Past(clock(), dice, {flow.id: flow for flow in _flows(shown)})
    for number, moment in enumerate(past.moments(happened.now, dice, a_day=a_day)):
        shop = dice.choice(SHOPS)
        event = event_of(dice.choice(types_of(shop)), dice, number)
        owner = TenantId(parse_id(Prefix.TENANT, shown.owners[shop.handle].id))
        happened.happen(moment, owner, event["type"], event["data"])
    past.write(stack.database_url, happened)
    past.date_back(stack.database_url, happened)


def _flows(shown: Showcase) -> Iterator[past.Flow]:
    for shop in SHOPS:
        for part in shop.parts:
            name = f"{shop.handle}/{part.name}"
            if part.has_past:
                yield past.Flow(
                    EndpointId(parse_id(Prefix.ENDPOINT, shown.endpoints[name])),
                    TenantId(parse_id(Prefix.TENANT, shown.owners[shop.handle].id)),
                    part.filter,
                    str(_asked(shown, shop, part)["url"]),
                    part.takes,
                    parse_secret(shown.secrets[name]),
                )


# ------------------------------------------------------------------ what happens
def _change(stack: Stack, shown: Showcase) -> None:
    """What people do today: they get accounts, pause an endpoint, rotate a secret, and give one up."""
    take_on(stack)
    stack.run(
        str(WAYBILL), "endpoint", "pause", shown.endpoints["northwind/returns"],
        "--tenant", shown.owners["northwind"].id, "--reason", "Moving to a new data centre; back on Thursday",
    )  # fmt: skip
    rotation = {"overlap_hours": 48, "reason": "yearly rotation"}
    shown.api("lumen").post(f"/v1/endpoints/{shown.endpoints['lumen/analytics']}/secrets/rotate", rotation)
    url, bramble = shown.address("bramble/unsubscribes"), shown.api("bramble")
    old = {"url": url, "filter": ["email.unsubscribed"], "description": "Before the suppression list"}
    make(shown, "bramble/unsubscribes", old)
    path = f"/v1/endpoints/{shown.endpoints['bramble/unsubscribes']}"
    bramble.post(f"{path}/pause", {"reason": "about to be replaced"})
    left = [{"type": "email.unsubscribed", "data": {"message": f"m-{number}"}} for number in range(4)]
    bramble.post("/v1/events/batch", {"events": left})
    bramble.delete(f"{path}?reason=replaced+by+the+suppression+list")


def _publish(shown: Showcase, count: int) -> None:
    """Tenants take turns: one event under a key, and some more at once. Every type happens."""
    dice = Random(SEED)  # noqa: S311  nothing is secret here
    for first in range(0, count // len(SHOPS), AT_ONCE):
        for shop in SHOPS:
            kinds, api = types_of(shop), shown.api(shop.handle)
            numbers = range(first, first + AT_ONCE)
            one, *more = [event_of(kinds[number % len(kinds)], dice, number) for number in numbers]
            api.post("/v1/events", one, Idempotency_Key=f"{shop.handle}-2026-{first}")
            api.post("/v1/events/batch", {"events": more})


def _let_in_the_hostile(shown: Showcase) -> None:
    """A tenant whose every text is a script; one of its endpoints refuses, the other is paused."""
    shown.receivers.behave("/hostile/refusing", hostile.answer)
    own(shown, "hostile", hostile.NAME, key_name=hostile.SCRIPT)
    for name in ("hostile/refusing", "hostile/paused"):
        make(shown, name, hostile.endpoint(shown.address(name)))
    api = shown.api("hostile")
    api.post(f"/v1/endpoints/{shown.endpoints['hostile/paused']}/pause", {"reason": hostile.REASON})
    for number, event in enumerate(hostile.events()):
        api.post("/v1/events", event, Idempotency_Key=f"{hostile.KEY}{number}")
    words = {
        "description": hostile.DESCRIPTION,
        "schema": {"title": hostile.SCRIPT},
        "examples": [hostile.IMAGE],
    }
    shown.operator.put("/v1/event-types/hostile.words", words)
    _wait(shown, "hostile/refusing", len(hostile.events()), status="failed")
    _replay(shown, "hostile", {"endpoint": [shown.endpoints["hostile/refusing"]]}, hostile.REASON)
    _wait_for_replay(shown, "hostile")


def _settle(shown: Showcase) -> None:
    """Wait until every endpoint stands as it is meant to."""
    for name in _ENDING:
        _wait(shown, name, 0, status=["pending", "in_flight"])
    erp = f"/v1/endpoints/{shown.endpoints['northwind/erp']}/health"
    affiliate = f"/v1/endpoints/{shown.endpoints['northwind/affiliate']}"
    api = shown.api("northwind")
    wait_until(lambda: api.get(erp)["breaker"]["state"] == "open", "an open breaker", seconds=PATIENCE)
    wait_until(lambda: api.get(affiliate)["state"] == "disabled", "a disabled endpoint", seconds=PATIENCE)
    wait_until(lambda: shown.count("bramble/bounces", outcome="unreachable") > 0, "bounces", seconds=PATIENCE)


def _ask_again(shown: Showcase) -> None:
    """Billing is mended and gets what it refused; the warehouse wants all of it again, slowly."""
    shown.receivers.put_right("/northwind/billing")
    refused = {"endpoint": [shown.endpoints["northwind/billing"]], "status": ["failed"], "response": ["422"]}
    _replay(
        shown, "northwind/billing", refused, "Their release 4.12.0 refused our currencies; 4.12.1 takes them"
    )
    _wait_for_replay(shown, "northwind/billing")

    again = {
        "endpoint": [shown.endpoints["northwind/warehouse"]],
        "status": ["succeeded"],
        "since": shown.began.isoformat(),
    }
    _replay(
        shown, "northwind/warehouse", again, "The warehouse went back to its backup of last night", rate=4
    )
    path, api = f"/v1/replays/{shown.replays['northwind/warehouse']}", shown.api("northwind")
    wait_until(lambda: api.get(path)["progress"]["succeeded"] > 0, "a replay to begin", seconds=PATIENCE)
    api.post(f"{path}/pause", {"reason": "Their night shift first"})

    one = shown.delivery("bramble/opens", status="succeeded")
    shown.api("bramble").post(f"/v1/deliveries/{one}/replay", {"reason": "They lost it"})
    erased = shown.deliveries("lumen/consents", status="succeeded")[-1]["event_id"]
    shown.api("lumen").delete(f"/v1/events/{erased}/content?reason=asked+for+by+the+customer")


# ------------------------------------------------------------------ small things
def _replay(
    shown: Showcase, name: str, selection: Mapping[str, Any], reason: str, *, rate: float | None = None
) -> None:
    asked = {"selection": selection, "reason": reason, "rate": rate}
    shown.replays[name] = str(shown.api(name).post("/v1/replays", asked)["id"])


def _wait_for_replay(shown: Showcase, name: str) -> None:
    path, api = f"/v1/replays/{shown.replays[name]}", shown.api(name)
    wait_until(lambda: api.get(path)["state"] == "finished", f"the replay of {name}", seconds=PATIENCE)


def _wait(shown: Showcase, name: str, count: int, **filters: str | list[str]) -> None:
    wait_until(
        lambda: shown.count(name, **filters) == count, f"{count} {filters} of {name}", seconds=PATIENCE
    )


@contextmanager
def _nowhere() -> Iterator[str]:
    """An address where nobody listens, and nobody else can begin to."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}/suppressed"

"""What happens in the demo, in order: three receivers, one tenant, many events, and what came of them."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import socket
import time
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import httpx
from aiohttp import web

from delivery.cli.commands.demo.result import LedgerDelivery, ReceiverTally
from delivery.domain.errors import Misconfigured, Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from delivery.cli.commands.demo.engine import DemoEngine

UNHEALTHY_SECONDS = 5.0
ROUNDS = 20
ROUND_PAUSE_SECONDS = 0.15
SETTLE_SECONDS = 25.0  # from the last event on; a receiver recovers within some ten seconds
MIN_ATTEMPTS_OF_DOWN = 11  # ten failures open a breaker; the eleventh attempt is a probe
TYPES = ("order.created", "order.paid", "order.shipped", "invoice.sent", "customer.changed")


@dataclass(slots=True)
class Receiver:
    """One destination. It refuses everything for `unhealthy_seconds` from the first request on.

    `held`, `attempts` and `breaker` are read from the API; the rest is what arrived here.
    """

    name: str
    schedule: tuple[int, ...]
    unhealthy_seconds: float = 0.0
    down: bool = False
    healthy_at: float | None = None
    endpoint_id: str = ""
    webhook: Any = None
    verified: Counter[str] = field(default_factory=Counter)
    forged: int = 0
    refused: int = 0
    held: int = 0
    attempts: int = 0
    breaker: str = "closed"

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Verify a delivery, then accept or refuse it."""
        try:
            self.webhook.verify(await request.read(), request.headers)
        except Exception:  # noqa: BLE001  the package raises many kinds of error for a wrong signature
            self.forged += 1
            return web.Response(status=401)
        self.healthy_at = self.healthy_at or time.monotonic() + self.unhealthy_seconds
        if time.monotonic() < self.healthy_at:
            self.refused += 1
            return web.Response(status=500)
        self.verified[request.headers["webhook-id"]] += 1
        return web.Response()

    def format_progress(self) -> str:
        """What came of its deliveries so far."""
        breaker = "" if self.breaker == "closed" else f", breaker {self.breaker.replace('_', ' ')}"
        if self.down:
            return f"{self.name}: {self.held} held, {self.attempts} attempts{breaker}"
        refused = f", {self.refused} refused" if self.unhealthy_seconds else ""
        return f"{self.name}: {len(self.verified)} verified{refused}{breaker}"


@dataclass(slots=True)
class Story:
    """How far the demo has come."""

    events: int
    step: str = "Starting the engine, with an embedded PostgreSQL"
    accepted: list[str] = field(default_factory=list)
    receivers: tuple[Receiver, ...] = field(
        default_factory=lambda: (
            Receiver("warehouse", (0, 1, 2, 4)),
            Receiver("billing", (0, 1, 2, 4, 8), unhealthy_seconds=UNHEALTHY_SECONDS),
            Receiver("crm", (0, 1, 2, 3_600), down=True),
        )
    )

    async def play(self, engine: DemoEngine) -> list[ReceiverTally]:
        """Run the demo on an engine that was just started, and stop it. Raises Unavailable."""
        async with _listen(self.receivers) as urls:
            try:
                found = await engine.wait_until_ready()
                self.step = "Creating a tenant, a key and three endpoints"
                async with _create_client(found["url"], found["operator_key"]) as operator:
                    tenant = await _request(operator, "POST", "/v1/tenants", {"name": "Demo"})
                    keys = f"/v1/tenants/{tenant['id']}/keys"
                    key = await _request(operator, "POST", keys, {"name": "demo"})
                async with _create_client(found["url"], key["key"]) as client:
                    for receiver in self.receivers:
                        await _create_endpoint(client, receiver, urls[receiver.name])
                    return await self._deliver(client)
            finally:
                self.step = "Stopping the engine"
                await engine.stop()

    async def _deliver(self, client: httpx.AsyncClient) -> list[ReceiverTally]:
        watching = asyncio.create_task(self._watch(client))
        try:
            self.step = "Publishing"
            await self._publish(client)
            self.step = "Waiting for probes and retries"
            deadline = time.monotonic() + SETTLE_SECONDS
            while time.monotonic() < deadline and not self._is_settled():
                if watching.done():  # only an error ends it
                    watching.result()
                await asyncio.sleep(0.1)
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        self.step = "Reading the ledger"
        while True:
            tallies = [await _tally(client, receiver) for receiver in self.receivers]
            # A success is in the ledger a moment after its receiver has seen it.
            if all(t.down or t.count("succeeded") == len(t.deliveries) for t in tallies) or (
                time.monotonic() > deadline + SETTLE_SECONDS
            ):
                return tallies
            await asyncio.sleep(0.2)

    async def _publish(self, client: httpx.AsyncClient) -> None:
        # In rounds: half of a round as single requests at the same time, the other half as a batch.
        events = [
            {"type": TYPES[n % len(TYPES)], "data": {"order": 1_000 + n, "customer": "Ada Lovelace"}}
            for n in range(self.events)
        ]
        for start in range(ROUNDS):
            part = events[start::ROUNDS]
            singles, batch = part[: len(part) // 2], part[len(part) // 2 :]
            answers = await asyncio.gather(
                _request(client, "POST", "/v1/events/batch", {"events": batch}),
                *(_request(client, "POST", "/v1/events", event) for event in singles),
            )
            self.accepted += [event["id"] for event in answers[0]["events"] + answers[1:]]
            await asyncio.sleep(ROUND_PAUSE_SECONDS)

    async def _watch(self, client: httpx.AsyncClient) -> None:
        while True:
            for receiver in self.receivers:
                health = await _request(client, "GET", f"/v1/endpoints/{receiver.endpoint_id}/health")
                receiver.held, receiver.breaker = health["waiting"], health["breaker"]["state"]
                receiver.attempts = health["last_hour"]["attempts"]
            await asyncio.sleep(0.5)

    def _is_settled(self) -> bool:
        return all(
            r.attempts >= MIN_ATTEMPTS_OF_DOWN if r.down else len(r.verified) >= self.events
            for r in self.receivers
        )

    def format_progress(self) -> str:
        """The progress in one line."""
        accepted = f"{len(self.accepted)}/{self.events} accepted"
        return " | ".join([accepted, *(receiver.format_progress() for receiver in self.receivers)])


def create_verifier(secret: str) -> Any:
    """A verifier of the reference library. Raises Misconfigured if it is not installed."""
    if importlib.util.find_spec("standardwebhooks") is None:
        raise Misconfigured(
            "The demo's receivers verify with the package `standardwebhooks`: "
            "pip install 'waybill-engine[demo]'."
        )
    return importlib.import_module("standardwebhooks").Webhook(secret)


@asynccontextmanager
async def _listen(receivers: tuple[Receiver, ...]) -> AsyncIterator[Mapping[str, str]]:
    """Answer for each receiver; yields URLs by name. Nobody answers at the URL of one that is down."""
    runners: list[web.ServerRunner] = []
    urls: dict[str, str] = {}
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound, so that no other process listens there
        try:
            for receiver in receivers:
                address = unused.getsockname()
                if not receiver.down:
                    runners.append(runner := web.ServerRunner(web.Server(receiver.answer, access_log=None)))
                    await runner.setup()
                    await web.TCPSite(runner, "127.0.0.1", 0).start()
                    address = runner.addresses[0]
                urls[receiver.name] = f"http://127.0.0.1:{address[1]}/hooks"
            yield urls
        finally:
            for runner in runners:
                await runner.cleanup()


# The API, as any producer would call it.


def _create_client(url: str, key: str) -> httpx.AsyncClient:
    # `trust_env`: no proxy of the environment stands between us and loopback.
    headers = {"authorization": f"Bearer {key}"}
    return httpx.AsyncClient(base_url=url, headers=headers, trust_env=False, timeout=20)


async def _request(
    client: httpx.AsyncClient, method: str, path: str, body: object = None, **params: str
) -> Any:
    try:
        response = await client.request(method, path, json=body, params=params)
    except httpx.HTTPError as error:
        raise Unavailable(f"The demo's engine does not answer: {error!r}") from error
    if not response.is_success:
        raise Unavailable(f"The demo's engine answered {response.status_code} to {path}: {response.text}")
    return response.json()


async def _create_endpoint(client: httpx.AsyncClient, receiver: Receiver, url: str) -> None:
    endpoint = {
        "url": url,
        "description": receiver.name,
        "schedule": receiver.schedule,
        # Probes every other second, so that nobody waits half a minute to see one.
        "breaker": {"cool_down_seconds": 1, "longest_cool_down_seconds": 2},
    }
    created = await _request(client, "POST", "/v1/endpoints", endpoint)
    receiver.endpoint_id, receiver.webhook = created["id"], create_verifier(created["secret"])


async def _list_deliveries(client: httpx.AsyncClient, receiver: Receiver) -> list[LedgerDelivery]:
    found, params = [], {"endpoint": receiver.endpoint_id, "limit": "100"}
    while True:
        page = await _request(client, "GET", "/v1/deliveries", **params)
        found += [_parse_delivery(item) for item in page["items"]]
        if page["next"] is None:
            return found
        params["cursor"] = page["next"]


async def _tally(client: httpx.AsyncClient, receiver: Receiver) -> ReceiverTally:
    deliveries = await _list_deliveries(client, receiver)
    if receiver.down:
        # Only what was attempted has a result to explain: most of it is held from the start.
        deliveries = [
            _parse_delivery(await _request(client, "GET", f"/v1/deliveries/{d.id}")) if d.attempts else d
            for d in deliveries
        ]
    return ReceiverTally(
        receiver.name, receiver.down, receiver.refused, receiver.forged, dict(receiver.verified), deliveries
    )


def _parse_delivery(item: Mapping[str, Any]) -> LedgerDelivery:
    took = None
    if item["status"] == "succeeded":
        took = datetime.fromisoformat(item["finished_at"]) - datetime.fromisoformat(item["created_at"])
    attempts = item.get("latest_attempts")
    return LedgerDelivery(
        item["id"],
        item["event_id"],
        item["status"],
        item["attempts"],
        took,
        detail=attempts[0]["detail"] if attempts else None,
        held_by=item["held"] and item["held"]["by"],
    )

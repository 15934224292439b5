"""The few calls of the HTTP API that the demo makes, as any producer would make them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
import msgspec

from delivery.domain.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from delivery.cli.commands.demo.receivers import Receiver

AT_ONCE = 8
_PAGE = 100


@dataclass(frozen=True, slots=True)
class Owed:
    """A delivery as the ledger tells it. `took`: from accept to success; `why`: what the last attempt met.

    `held`: by what it is kept from being attempted, now that it is due.
    """

    id: str
    event_id: str
    status: str
    attempts: int
    took: timedelta | None
    why: str | None = None
    held: str | None = None


class Client:
    """The API under one key."""

    def __init__(self, url: str, key: str) -> None:
        """Nothing is dialled yet. No proxy of the environment's stands between us and loopback."""
        headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        self._http = httpx.AsyncClient(base_url=url, headers=headers, trust_env=False, timeout=20)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def create_tenant(self, name: str) -> tuple[str, str]:
        """Make a tenant and a key for it; needs the operator's key. Returns the tenant's id and the key."""
        tenant = await self._ask("POST", "/v1/tenants", {"name": name})
        key = await self._ask("POST", f"/v1/tenants/{tenant['id']}/keys", {"name": "demo"})
        return tenant["id"], key["key"]

    async def create_endpoint(self, receiver: Receiver) -> tuple[str, str]:
        """Make an endpoint that points to a receiver; returns its id and its secret."""
        asked = {
            "url": receiver.url,
            "description": f"{receiver.name}: {receiver.manners}",
            "schedule": receiver.schedule,
            # Probes every other second, so that nobody has to wait half a minute to see one.
            "breaker": {"cool_down_seconds": 1, "longest_cool_down_seconds": 2},
        }
        made = await self._ask("POST", "/v1/endpoints", asked)
        return made["id"], made["secret"]

    async def publish(self, event: Mapping[str, Any]) -> list[str]:
        """Send one event; returns its id."""
        return [(await self._ask("POST", "/v1/events", event))["id"]]

    async def publish_batch(self, events: Sequence[Mapping[str, Any]]) -> list[str]:
        """Send many at once; returns their ids."""
        answer = await self._ask("POST", "/v1/events/batch", {"events": events})
        return [event["id"] for event in answer["events"]]

    async def breaker_of(self, endpoint_id: str) -> str:
        """Where an endpoint's circuit breaker stands."""
        health = await self._ask("GET", f"/v1/endpoints/{endpoint_id}/health")
        return str(health["breaker"]["state"])

    async def owed_to(self, endpoint_id: str) -> list[Owed]:
        """Every delivery to an endpoint."""
        return [_owed(shown) async for shown in self._all("/v1/deliveries", endpoint=endpoint_id)]

    async def explained(self, owed: Sequence[Owed]) -> list[Owed]:
        """The same deliveries, each with what its last attempt came to."""
        few = asyncio.Semaphore(AT_ONCE)

        async def explain(one: Owed) -> Owed:
            async with few:
                shown = await self._ask("GET", f"/v1/deliveries/{one.id}")
            attempts = shown["latest_attempts"]
            return _owed(shown, why=attempts[0]["detail"] if attempts else None)

        return await asyncio.gather(*map(explain, owed))

    async def _all(self, path: str, **filters: str) -> AsyncIterator[dict[str, Any]]:
        cursor: dict[str, str] = {}
        while True:
            page = await self._ask("GET", path, params={**filters, **cursor, "limit": str(_PAGE)})
            for item in page["items"]:
                yield item
            if page["next"] is None:
                return
            cursor = {"cursor": page["next"]}

    async def _ask(
        self, method: str, path: str, body: object = None, *, params: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        content = None if body is None else msgspec.json.encode(body)
        try:
            answer = await self._http.request(method, path, content=content, params=params)
        except httpx.HTTPError as error:
            raise Unavailable(f"The demo's engine does not answer: {error!r}") from error
        if not answer.is_success:
            raise Unavailable(f"The demo's engine answered {answer.status_code} to {path}: {answer.text}")
        answered: dict[str, Any] = msgspec.json.decode(answer.content)
        return answered


def _owed(shown: Mapping[str, Any], *, why: str | None = None) -> Owed:
    finished, status = shown["finished_at"], shown["status"]
    took = None
    if status == "succeeded" and finished is not None:
        took = datetime.fromisoformat(finished) - datetime.fromisoformat(shown["created_at"])
    held = shown["held"] and shown["held"]["by"]
    return Owed(shown["id"], shown["event_id"], status, shown["attempts"], took, why, held)

"""What most end-to-end tests do: subscribe a partner, publish, wait, and look."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from tests.support.stack import wait_until

if TYPE_CHECKING:
    from tests.support.api import Api
    from tests.support.webhook_partner import Partner

TIMEOUT_SECONDS = 60


def subscribe(tenant: Api, partner: Partner, **changes: Any) -> str:
    """An endpoint for everything about orders; the partner verifies with its secret from then on."""
    endpoint = tenant.post("/v1/endpoints", {"url": partner.url, "filter": ["order.*"], **changes})
    partner.secret = endpoint["secret"]
    return str(endpoint["id"])


def publish_events(tenant: Api, count: int, *, start: int = 0) -> list[str]:
    """Post this many events, sixteen at a time; returns their ids."""

    def send(number: int) -> str:
        event = {"type": "order.created", "data": {"number": number}}
        return str(tenant.post("/v1/events", event, Idempotency_Key=f"n{number}")["id"])

    with ThreadPoolExecutor(max_workers=16) as pool:
        return list(pool.map(send, range(start, start + count)))


def count_statuses(tenant: Api) -> Counter[str]:
    """How many deliveries stand where."""
    return Counter(delivery["status"] for delivery in tenant.list_all("/v1/deliveries"))


def list_attempts(tenant: Api, delivery: Any) -> list[Any]:
    """The attempts of a delivery, first to last."""
    items = tenant.list_all(f"/v1/deliveries/{delivery['id']}/attempts")
    return sorted(items, key=lambda attempt: attempt["number"])


def wait_for_success(tenant: Api, count: int) -> None:
    wait_until(
        lambda: count_statuses(tenant)["succeeded"] == count, f"{count} successes", seconds=TIMEOUT_SECONDS
    )


def assert_all_arrived(partner: Partner, events: list[str]) -> None:
    """Each event came at least once, nothing else did, and every signature was ours."""
    assert set(partner.count_by_message_id) == set(events)
    assert partner.unverified == []

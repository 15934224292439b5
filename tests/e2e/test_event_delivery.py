"""From POST to a verified, recorded delivery through the Procfile's processes."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from signing import VerificationError, verify
from tests.support.scenario import (
    TIMEOUT_SECONDS,
    assert_all_arrived,
    count_statuses,
    list_attempts,
    publish_events,
    subscribe,
    wait_for_success,
)
from tests.support.stack import ROOT, wait_until
from tests.support.webhook_partner import CannedResponse, Partner, ReceivedCall

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.api import Api
    from tests.support.stack import Stack


def test_every_accepted_event_is_delivered_verified_and_recorded(engine: Api) -> None:
    with Partner() as partner:
        tenant = engine.create_tenant()
        subscribe(tenant, partner)
        events = publish_events(tenant, 200)
        wait_for_success(tenant, 200)
        assert_all_arrived(partner, events)
        assert set(partner.count_by_message_id.values()) == {1}
        recorded = [list_attempts(tenant, delivery) for delivery in tenant.list_all("/v1/deliveries")[:5]]
        assert [[attempt["outcome"] for attempt in of_one] for of_one in recorded] == [["delivered"]] * 5


def test_refused_delivery_is_retried_with_the_same_id_and_body(engine: Api) -> None:
    seen: Counter[str] = Counter()

    def twice_unwell(call: ReceivedCall) -> CannedResponse:
        seen[call.message_id] += 1
        return CannedResponse(503 if seen[call.message_id] <= 2 else 200)

    with Partner(twice_unwell) as partner:
        tenant = engine.create_tenant()
        # It is about retries: no breaker comes between.
        subscribe(tenant, partner, breaker={"consecutive_failures": 1_000, "minimum_requests": 1_000})
        events = publish_events(tenant, 20)
        wait_for_success(tenant, 20)
        assert_all_arrived(partner, events)
        assert set(partner.count_by_message_id.values()) == {3}
        assert len({(call.message_id, call.body) for call in partner.calls}) == 20


def test_a_batch_reaches_every_endpoint_that_asked_and_no_other(engine: Api) -> None:
    with Partner() as orders, Partner() as everything, Partner() as mail:
        tenant = engine.create_tenant()
        subscribe(tenant, orders)
        subscribe(tenant, everything, filter=["*"])
        subscribe(tenant, mail, filter=["email.opened"])
        sent = [{"type": f"order.{kind}", "data": {}} for kind in ("created", "paid", "shipped")]
        answer = tenant.post("/v1/events/batch", {"events": sent})
        assert [event["deliveries"] for event in answer["events"]] == [2, 2, 2]
        wait_for_success(tenant, 6)
        events = [event["id"] for event in answer["events"]]
        assert_all_arrived(orders, events)
        assert_all_arrived(everything, events)
        assert mail.calls == []


def test_another_tenants_endpoint_sees_nothing(engine: Api) -> None:
    with Partner() as mine, Partner() as theirs:
        tenant, other = engine.create_tenant("Mine"), engine.create_tenant("Theirs")
        subscribe(tenant, mine)
        subscribe(other, theirs, filter=["*"])
        publish_events(tenant, 10)
        wait_for_success(tenant, 10)
        assert theirs.calls == []
        assert other.list_all("/v1/deliveries") == []


def test_a_slow_partner_does_not_hold_up_the_others(engine: Api) -> None:
    with Partner(lambda _call: CannedResponse(delay=20)) as slow, Partner() as quick:
        tenant = engine.create_tenant()
        subscribe(tenant, slow, filter=["slow.order"])
        subscribe(tenant, quick)
        tenant.post("/v1/events/batch", {"events": [{"type": "slow.order", "data": {}}] * 600})
        events = publish_events(tenant, 50)
        wait_until(
            lambda: set(quick.count_by_message_id) == set(events), "the quick ones", seconds=TIMEOUT_SECONDS
        )
        assert slow.calls
        for endpoint in tenant.list_all("/v1/endpoints"):
            tenant.post(f"/v1/endpoints/{endpoint['id']}/pause")


def test_both_secrets_sign_while_a_rotation_overlaps(engine: Api) -> None:
    with Partner() as partner:
        tenant = engine.create_tenant()
        endpoint = subscribe(tenant, partner)
        old = str(partner.secret)
        new = tenant.post(f"/v1/endpoints/{endpoint}/secrets/rotate", {"overlap_hours": 1})["secret"]
        publish_events(tenant, 1)
        wait_for_success(tenant, 1)
        [call] = partner.calls
        now = datetime.now(UTC)
        assert verify(call.headers, call.body, old, now=now) == verify(call.headers, call.body, new, now=now)
        assert len(call.headers["webhook-signature"].split(" ")) == 2


def test_only_the_new_secret_signs_after_a_rotation_without_overlap(engine: Api) -> None:
    with Partner() as partner:
        tenant = engine.create_tenant()
        endpoint = subscribe(tenant, partner)
        old, partner.secret = str(partner.secret), None
        new = tenant.post(f"/v1/endpoints/{endpoint}/secrets/rotate", {"overlap_hours": 0})["secret"]
        publish_events(tenant, 1)
        wait_for_success(tenant, 1)
        [call] = partner.calls
        verify(call.headers, call.body, new, now=datetime.now(UTC))
        with pytest.raises(VerificationError):
            verify(call.headers, call.body, old, now=datetime.now(UTC))


def test_a_public_key_verifies_what_v1a_signed(engine: Api) -> None:
    with Partner() as partner:
        tenant = engine.create_tenant()
        endpoint = tenant.post("/v1/endpoints", {"url": partner.url, "signature": "v1a"})
        assert endpoint["public_key"].startswith("whpk_")
        publish_events(tenant, 5)
        wait_for_success(tenant, 5)
        for call in partner.calls:
            verify(call.headers, call.body, endpoint["public_key"], now=datetime.now(UTC))


@pytest.mark.parametrize("package", ["standardwebhooks", "svix"])
def test_the_npm_packages_verify_our_deliveries(engine: Api, package: str) -> None:
    tenant = engine.create_tenant()
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105  the specification's own example
    with node_receiver(secret, package) as (port, said):
        url = f"http://127.0.0.1:{port}/hooks"
        tenant.post("/v1/endpoints", {"url": url, "filter": ["order.*"], "secret": secret})
        events = publish_events(tenant, 10)
        wait_for_success(tenant, 10)
        assert sorted(next(said) for _ in events) == sorted(f"verified {event}" for event in events)


@contextmanager
def node_receiver(secret: str, package: str) -> Iterator[tuple[int, Iterator[str]]]:
    folder = ROOT / "tests/support/node"
    with subprocess.Popen(
        ["node", "receiver.mjs", secret, package], cwd=folder, stdout=subprocess.PIPE, text=True
    ) as node:
        assert node.stdout is not None
        said = (line.strip() for line in node.stdout)
        try:
            yield int(next(said).removeprefix("listening ")), said
        finally:
            node.kill()


def test_a_partner_that_says_410_gets_nothing_more(engine: Api) -> None:
    with Partner(lambda _call: CannedResponse(410)) as partner:
        tenant = engine.create_tenant()
        endpoint = subscribe(tenant, partner)
        publish_events(tenant, 1)
        wait_until(
            lambda: count_statuses(tenant)["failed"] == 1, "the delivery to fail", seconds=TIMEOUT_SECONDS
        )
        assert tenant.get(f"/v1/endpoints/{endpoint}")["state"] == "disabled"
        publish_events(tenant, 1, start=1)
        assert count_statuses(tenant) == {"failed": 1, "pending": 1}
        assert len(partner.calls) == 1


def test_paused_endpoint_holds_deliveries_and_drains_on_resume(engine: Api) -> None:
    with Partner() as partner:
        tenant = engine.create_tenant()
        endpoint = subscribe(tenant, partner)
        tenant.post(f"/v1/endpoints/{endpoint}/pause", {"reason": "maintenance"})
        events = publish_events(tenant, 30)
        assert count_statuses(tenant) == {"pending": 30}
        assert partner.calls == []
        tenant.post(f"/v1/endpoints/{endpoint}/resume")
        wait_for_success(tenant, 30)
        assert_all_arrived(partner, events)


def test_deleting_an_endpoint_cancels_its_pending_deliveries(engine: Api) -> None:
    with Partner() as partner:
        tenant = engine.create_tenant()
        endpoint = subscribe(tenant, partner)
        tenant.post(f"/v1/endpoints/{endpoint}/pause")
        publish_events(tenant, 5)
        tenant.delete(f"/v1/endpoints/{endpoint}")
        wait_until(
            lambda: count_statuses(tenant)["cancelled"] == 5, "five cancelled", seconds=TIMEOUT_SECONDS
        )
        reasons = {delivery["reason"] for delivery in tenant.list_all("/v1/deliveries")}
        assert reasons == {"endpoint_deleted"}


def test_a_test_event_goes_to_its_endpoint_alone(engine: Api) -> None:
    with Partner() as partner, Partner() as other:
        tenant = engine.create_tenant()
        endpoint = subscribe(tenant, partner)
        subscribe(tenant, other, filter=["*"])
        tenant.post(f"/v1/endpoints/{endpoint}/test")
        wait_for_success(tenant, 1)
        assert json.loads(partner.calls[0].body)["type"] == "waybill.test"
        assert partner.unverified == other.calls == []


def test_a_private_address_is_refused_when_it_is_dialled(stack: Stack, operator: Api) -> None:
    with Partner() as inside:
        stack.serve("web")
        tenant = operator.create_tenant()
        subscribe(tenant, inside, schedule=[0])
        publish_events(tenant, 1)
        # These workers have no allow-list: what `web` let pass, the guard refuses at the socket.
        stack.environment["WAYBILL_ALLOW_NETWORKS"] = ""
        stack.serve("relay", "worker")
        wait_until(
            lambda: count_statuses(tenant)["failed"] == 1, "the delivery to fail", seconds=TIMEOUT_SECONDS
        )
        [attempt] = list_attempts(tenant, tenant.list_all("/v1/deliveries")[0])
        assert (attempt["outcome"], attempt["response"]) == ("blocked", None)
        assert inside.calls == []


def read_attempt_lines(stack: Stack, endpoint: str) -> list[dict[str, Any]]:
    """The worker's log lines of this endpoint's attempts."""
    lines = (
        json.loads(line) for line in stack.read_log("worker").splitlines() if "delivery.attempted" in line
    )
    return [line for line in lines if line["endpoint_id"] == endpoint]


def test_each_attempt_is_one_log_line_without_secret_or_body(engine_stack: Stack, engine: Api) -> None:
    with Partner(lambda _call: CannedResponse(500)) as partner:
        tenant = engine.create_tenant()
        endpoint = subscribe(
            tenant, partner, schedule=[0, 1], headers={"Authorization": "Bearer of-the-partner"}
        )
        publish_events(tenant, 1)
        wait_until(
            lambda: count_statuses(tenant)["failed"] == 1, "the delivery to fail", seconds=TIMEOUT_SECONDS
        )
        wait_until(
            lambda: len(read_attempt_lines(engine_stack, endpoint)) == 2,
            "both lines",
            seconds=TIMEOUT_SECONDS,
        )
    said, lines = engine_stack.read_log("worker"), read_attempt_lines(engine_stack, endpoint)
    assert [(line["number"], line["status"], line["decision"]) for line in lines] == [
        (1, 500, "retry"),
        (2, 500, "give_up"),
    ]
    assert "of-the-partner" not in said
    assert str(partner.secret) not in said
    assert partner.calls[0].headers["authorization"] == "Bearer of-the-partner"


def test_quorum_queues_carry_deliveries_and_successful_attempts_are_logged_when_enabled(
    stack: Stack, operator: Api
) -> None:
    stack.environment |= {"WAYBILL_QUEUE_TYPE": "quorum", "WAYBILL_LOG_ATTEMPTS": "all"}
    with Partner() as partner:
        stack.serve("web", "relay", "worker")
        tenant = operator.create_tenant()
        endpoint = subscribe(tenant, partner)
        [event, *others] = publish_events(tenant, 20)
        wait_for_success(tenant, 20)
        assert_all_arrived(partner, [event, *others])
        stack.stop("worker")
    lines = read_attempt_lines(stack, endpoint)
    assert len(lines) == 20
    [line] = [line for line in lines if line["event_id"] == event]
    [delivery] = [one for one in tenant.list_all("/v1/deliveries") if one["event_id"] == event]
    [attempt] = list_attempts(tenant, delivery)
    assert line["took_ms"] > 0
    assert {name: line[name] for name in ("event_id", "delivery_id", "attempt_id", "endpoint_id")} == {
        "event_id": event,
        "delivery_id": delivery["id"],
        "attempt_id": attempt["id"],
        "endpoint_id": endpoint,
    }
    assert (line["level"], line["number"], line["outcome"], line["status"]) == ("info", 1, "delivered", 200)

"""Formats and thin events on a whole engine: what partners receive and fetch."""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from svix.webhooks import Webhook

from delivery.clock import clock
from delivery.domain.formats import PayloadFormat, PayloadKind
from signing import parse_secret, verify
from tests.support.api import Api
from tests.support.scenario import TIMEOUT_SECONDS, list_attempts, wait_for_success
from tests.support.stack import OPERATOR_KEY, wait_until
from tests.support.webhook_partner import Partner

if TYPE_CHECKING:
    from tests.support.stack import Stack
    from tests.support.webhook_partner import ReceivedCall

DATA = b'{"order" : 1042, "total": 10.50, "who": "Zo\\u00eb \xe2\x82\xac"}'
SHAPES = [(wanted, payload) for wanted in PayloadFormat for payload in PayloadKind]


@pytest.fixture(scope="module")
def operator(module_stack: Stack) -> Api:
    """The operator of an engine that says where it is reached, and whose events they are."""
    base = f"http://127.0.0.1:{module_stack.port}"
    module_stack.environment |= {
        "WAYBILL_PUBLIC_URL": base,
        "WAYBILL_CLOUDEVENTS_SOURCE": "https://shop.example",
    }
    module_stack.serve("web", "relay", "worker")
    return Api(base, OPERATOR_KEY)


def as_data(wanted: PayloadFormat, call: ReceivedCall) -> Any:
    """The input of the receiver's program."""
    if wanted is PayloadFormat.STANDARD:
        return json.loads(call.body)
    return from_http_event(HTTPMessage(call.headers, call.body)).get_data()


def test_every_format_is_delivered_verified_and_recorded_as_sent(operator: Api) -> None:
    tenant = operator.create_tenant()
    owner = operator.get("/v1/tenants")["items"][0]["id"]  # newest first
    reader = operator.post(f"/v1/tenants/{owner}/keys", {"name": "partner", "scopes": ["read"]})["key"]
    with ExitStack() as exits:
        partners = {shape: exits.enter_context(Partner()) for shape in SHAPES}
        secrets = {}
        for (wanted, payload), partner in partners.items():
            asked = {"url": partner.url, "format": wanted, "payload": payload}
            secrets[wanted, payload] = tenant.post("/v1/endpoints", asked)["secret"]
        event = tenant.post_bytes("/v1/events", b'{"type": "order.created", "data": ' + DATA + b"}")
        wait_until(
            lambda: all(one.calls for one in partners.values()), "six arrivals", seconds=TIMEOUT_SECONDS
        )
        wait_for_success(tenant, len(SHAPES))
        calls = {shape: partner.calls[0] for shape, partner in partners.items()}
    for shape, call in calls.items():
        verify(call.headers, call.body, parse_secret(secrets[shape]), now=clock())
        Webhook(secrets[shape]).verify(call.body, call.headers)
        assert call.message_id == event["id"]
    for wanted in PayloadFormat:
        full, thin = (as_data(wanted, calls[wanted, payload]) for payload in PayloadKind)
        assert full == json.loads(DATA) or full["data"] == json.loads(DATA)
        assert DATA not in calls[wanted, PayloadKind.THIN].body
        answer = httpx.get(thin["url"], headers={"Authorization": f"Bearer {reader}"}, trust_env=False)
        assert answer.json()["body"]["data"] == json.loads(DATA)
        assert httpx.get(thin["url"], trust_env=False).status_code == httpx.codes.UNAUTHORIZED
    told = [
        tenant.get(f"/v1/attempts/{one['id']}")["request"]
        for delivery in tenant.list_all("/v1/deliveries")
        for one in list_attempts(tenant, delivery)
    ]
    assert {one["body"].encode() for one in told} == {call.body for call in calls.values()}
    assert all(one["body_missing"] is None for one in told)


def test_a_change_between_retries_changes_the_bytes_and_not_the_id(operator: Api) -> None:
    tenant = operator.create_tenant()
    with Partner() as partner:
        made = tenant.post("/v1/endpoints", {"url": partner.url, "schedule": [0, 3600]})
        partner.secret = made["secret"]
        tenant.post_bytes("/v1/events", b'{"type": "order.created", "data": ' + DATA + b"}")
        wait_for_success(tenant, 1)
        tenant.patch(f"/v1/endpoints/{made['id']}", {"format": "cloudevents_binary"})
        (delivery,) = tenant.list_all("/v1/deliveries")
        tenant.post(f"/v1/deliveries/{delivery['id']}/replay")
        wait_until(lambda: len(partner.calls) > 1, "the second arrival", seconds=TIMEOUT_SECONDS)
        first, second = partner.calls
    assert partner.unverified == []
    assert first.message_id == second.message_id == second.headers["ce-id"]
    assert (first.body == second.body, second.body) == (False, DATA)

"""Endpoint authentication: a fixed header, or a token from a token server."""

from __future__ import annotations

import base64
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from tests.integration.test_dispatch import deliver, load_attempts
from tests.support import ledger_builders as build
from tests.support.in_process_worker import WorkerSpec, run_worker
from tests.support.ledger_builders import EndpointSpec
from tests.support.receivers import answer_always, answer_never, make_response, run_receiver
from tests.support.token_server import BearerReceiver, TokenServer

if TYPE_CHECKING:
    from delivery.domain.ids import EndpointId, TenantId
    from delivery.ledger.db.session import Ledger
    from tests.support.receivers import ReceivedRequest, Receiver

SECRET = "a s3cret/with+signs%"  # noqa: S105  a test's


def oauth2(server: Receiver, **more: str) -> dict[str, str]:
    """Make credentials for the test's token server."""
    url = server.url("/token")
    return {"kind": "oauth2", "token_url": url, "client_id": "way bill", "client_secret": SECRET, **more}


async def create_owed(
    ledger: Ledger, tenant: TenantId, receiver: Receiver, auth: dict[str, str]
) -> EndpointId:
    """Create an endpoint with this authentication that is owed an event."""
    endpoint = await build.create_endpoint(ledger, tenant, EndpointSpec(receiver.url(), auth=auth))
    await build.accept_event(ledger, tenant)
    return endpoint


def list_authorizations(requests: list[ReceivedRequest]) -> list[str | None]:
    return [request.headers.get("authorization") for request in requests]


@pytest.mark.parametrize(
    ("auth", "header"),
    [
        (
            {"kind": "basic", "user": "waybill", "password": SECRET},
            "Basic " + base64.b64encode(f"waybill:{SECRET}".encode()).decode(),
        ),
        ({"kind": "bearer", "token": "abc.DEF-1=="}, "Bearer abc.DEF-1=="),
    ],
)
async def test_basic_and_bearer_go_with_every_delivery_and_are_redacted_in_the_ledger(
    ledger: Ledger, tenant: TenantId, auth: dict[str, str], header: str
) -> None:
    async with run_receiver(answer_always(make_response())) as receiver, run_worker(ledger) as dispatcher:
        endpoint = await create_owed(ledger, tenant, receiver, auth)
        await deliver(ledger, dispatcher, endpoint)
    assert list_authorizations(receiver.requests) == [header]
    _, (attempt,) = await load_attempts(ledger, tenant, endpoint)
    assert attempt.request_headers["authorization"] == "[redacted]"


async def test_concurrent_deliveries_share_a_token_request(ledger: Ledger, tenant: TenantId) -> None:
    server, guarded = TokenServer(), BearerReceiver("token-1")
    async with (
        run_receiver(server) as tokens,
        run_receiver(guarded) as receiver,
        run_worker(ledger) as dispatcher,
    ):
        endpoint = await create_owed(ledger, tenant, receiver, oauth2(tokens, scope="send.all read"))
        await build.accept_events(ledger, tenant, 49)
        await deliver(ledger, dispatcher, endpoint)
        await build.accept_event(ledger, tenant)
        await deliver(ledger, dispatcher, endpoint)
    assert list_authorizations(receiver.requests) == ["Bearer token-1"] * 51
    (requested,) = server.requests
    assert requested.body == b"grant_type=client_credentials&scope=send.all+read"
    assert requested.headers["content-type"] == "application/x-www-form-urlencoded"
    # Encoded before they are joined (RFC 6749).
    assert base64.b64decode(requested.headers["authorization"].split()[1]) == (
        b"way+bill:a+s3cret%2Fwith%2Bsigns%25"
    )


async def test_an_expired_token_is_not_reused(ledger: Ledger, tenant: TenantId) -> None:
    server = TokenServer(expires_in=0)
    async with (
        run_receiver(server) as tokens,
        run_receiver(answer_always(make_response())) as receiver,
        run_worker(ledger) as dispatcher,
    ):
        endpoint = await create_owed(ledger, tenant, receiver, oauth2(tokens))
        await deliver(ledger, dispatcher, endpoint)
        await build.accept_event(ledger, tenant)
        await deliver(ledger, dispatcher, endpoint)
    assert list_authorizations(receiver.requests) == ["Bearer token-1", "Bearer token-2"]


async def test_a_refused_token_is_renewed_within_the_attempt(ledger: Ledger, tenant: TenantId) -> None:
    guarded = BearerReceiver("token-1")
    async with (
        run_receiver(TokenServer()) as tokens,
        run_receiver(guarded) as receiver,
        run_worker(ledger) as dispatcher,
    ):
        endpoint = await create_owed(ledger, tenant, receiver, oauth2(tokens))
        await deliver(ledger, dispatcher, endpoint)
        guarded.accept_tokens("token-2")
        await build.accept_event(ledger, tenant)
        await deliver(ledger, dispatcher, endpoint)
    assert list_authorizations(receiver.requests) == ["Bearer token-1", "Bearer token-1", "Bearer token-2"]
    found = await build.fetch_rows(ledger, "select status, attempts from deliveries")
    assert [tuple(row) for row in found] == [("succeeded", 1), ("succeeded", 1)]


async def test_a_fresh_refused_token_is_not_renewed(ledger: Ledger, tenant: TenantId) -> None:
    server = TokenServer()
    async with (
        run_receiver(server) as tokens,
        run_receiver(BearerReceiver()) as receiver,
        run_worker(ledger) as dispatcher,
    ):
        endpoint = await create_owed(ledger, tenant, receiver, oauth2(tokens))
        await deliver(ledger, dispatcher, endpoint)
    assert (len(server.requests), len(receiver.requests)) == (1, 1)
    _, (attempt,) = await load_attempts(ledger, tenant, endpoint)
    assert (attempt.status, attempt.decision) == (401, "retry")


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (make_response("401 Unauthorized"), "The token server answered 401 Unauthorized"),
        (make_response("500 Oh"), "The token server answered 500 Internal Server Error"),
        (
            make_response("302 Found", b"", "Location: http://10.0.0.1/"),
            "The token server answered 302 Found",
        ),
        (make_response(body=b"<html>"), "not a token"),
        (make_response(body=b"\xff"), "not a token"),
        (make_response(body=b"{}"), "not a token"),
        (make_response(body=b'{"access_token": 7}'), "not a token"),
        (make_response(body=b'{"access_token": "a", "expires_in": "soon"}'), "not a token"),
        (make_response(body=b'{"access_token": "a", "expires_in": "nan"}'), "not a token"),
        (make_response(body=b'{"access_token": "a", "token_type": "mac"}'), "not a bearer token"),
        (make_response(body=b'{"access_token": ""}'), "cannot be sent"),
        (make_response(body=b'{"access_token": "a\\r\\nX: y"}'), "cannot be sent"),
        (make_response(body=b'{"access_token": "' + b"a" * 9_000 + b'"}'), "cannot be sent"),
    ],
)
async def test_a_failing_token_server_is_named(
    ledger: Ledger, tenant: TenantId, message: bytes, why: str
) -> None:
    server = TokenServer(canned_response=message)
    async with (
        run_receiver(server) as tokens,
        run_receiver(answer_always(make_response())) as receiver,
        run_worker(ledger) as dispatcher,
    ):
        endpoint = await create_owed(ledger, tenant, receiver, oauth2(tokens))
        await deliver(ledger, dispatcher, endpoint)
    assert receiver.requests == []
    _, (attempt,) = await load_attempts(ledger, tenant, endpoint)
    assert (attempt.outcome, attempt.decision, attempt.status) == ("unreachable", "retry", None)
    assert attempt.detail.startswith("The endpoint's token server gave no token (")
    assert why in attempt.detail


async def test_a_silent_token_server_costs_one_time_limit(ledger: Ledger, tenant: TenantId) -> None:
    manner = WorkerSpec(timeout=timedelta(seconds=0.3))
    async with (
        run_receiver(answer_never) as tokens,
        run_receiver(answer_always(make_response())) as receiver,
        run_worker(ledger, manner) as dispatcher,
    ):
        endpoint = await create_owed(ledger, tenant, receiver, oauth2(tokens))
        await deliver(ledger, dispatcher, endpoint)
    _, (attempt,) = await load_attempts(ledger, tenant, endpoint)
    assert (attempt.outcome, attempt.decision) == ("unreachable", "retry")
    assert "time was up" in attempt.detail


async def test_an_internal_token_server_is_not_dialled(ledger: Ledger, tenant: TenantId) -> None:
    async with run_receiver(answer_always(make_response())) as receiver, run_worker(ledger) as dispatcher:
        auth = oauth2(receiver) | {"token_url": "http://10.0.0.1/token"}
        endpoint = await create_owed(ledger, tenant, receiver, auth)
        await deliver(ledger, dispatcher, endpoint)
    _, (attempt,) = await load_attempts(ledger, tenant, endpoint)
    assert (attempt.outcome, receiver.requests) == ("blocked", [])
    assert "10.0.0.1" in attempt.detail

"""How the engine shows an endpoint who it is: by a header of its own, or by a token that it asks for."""

from __future__ import annotations

import base64
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from tests.integration.test_dispatch import deliver, told
from tests.support import ledger as on
from tests.support.ledger import Wanted
from tests.support.receivers import always, answer, never, receiving
from tests.support.token_server import Guarded, TokenServer
from tests.support.worker import Manner, working

if TYPE_CHECKING:
    from delivery.ledger import Ledger
    from delivery.model import EndpointId, TenantId
    from tests.support.receivers import Received, Receiver

SECRET = "a s3cret/with+signs%"  # noqa: S105  of a test


def oauth2(server: Receiver, **more: str) -> dict[str, str]:
    """Credentials for a token server of the test."""
    url = server.url("/token")
    return {"kind": "oauth2", "token_url": url, "client_id": "way bill", "client_secret": SECRET, **more}


async def owed(ledger: Ledger, tenant: TenantId, receiver: Receiver, auth: dict[str, str]) -> EndpointId:
    """An endpoint with this authentication that is owed an event."""
    endpoint = await on.new_endpoint(ledger, tenant, Wanted(receiver.url(), auth=auth))
    await on.accept(ledger, tenant)
    return endpoint


def carried(requests: list[Received]) -> list[str | None]:
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
    async with receiving(always(answer())) as receiver, working(ledger) as dispatcher:
        endpoint = await owed(ledger, tenant, receiver, auth)
        await deliver(ledger, dispatcher, endpoint)
    assert carried(receiver.requests) == [header]
    _, (attempt,) = await told(ledger, tenant, endpoint)
    assert attempt.request_headers["authorization"] == "[redacted]"


async def test_a_token_is_asked_for_once_for_all_who_need_it(ledger: Ledger, tenant: TenantId) -> None:
    server, guarded = TokenServer(), Guarded("token-1")
    async with receiving(server) as tokens, receiving(guarded) as receiver, working(ledger) as dispatcher:
        endpoint = await owed(ledger, tenant, receiver, oauth2(tokens, scope="send.all read"))
        await on.accept_many(ledger, tenant, 49)
        await deliver(ledger, dispatcher, endpoint)
        await on.accept(ledger, tenant)
        await deliver(ledger, dispatcher, endpoint)
    assert carried(receiver.requests) == ["Bearer token-1"] * 51
    (asked,) = server.asked
    assert asked.body == b"grant_type=client_credentials&scope=send.all+read"
    assert asked.headers["content-type"] == "application/x-www-form-urlencoded"
    # Encoded before they are joined, as RFC 6749 has it.
    assert base64.b64decode(asked.headers["authorization"].split()[1]) == (
        b"way+bill:a+s3cret%2Fwith%2Bsigns%25"
    )


async def test_a_token_that_has_ended_is_not_used_again(ledger: Ledger, tenant: TenantId) -> None:
    server = TokenServer(expires_in=0)
    async with (
        receiving(server) as tokens,
        receiving(always(answer())) as receiver,
        working(ledger) as dispatcher,
    ):
        endpoint = await owed(ledger, tenant, receiver, oauth2(tokens))
        await deliver(ledger, dispatcher, endpoint)
        await on.accept(ledger, tenant)
        await deliver(ledger, dispatcher, endpoint)
    assert carried(receiver.requests) == ["Bearer token-1", "Bearer token-2"]


async def test_a_token_that_is_refused_is_asked_for_anew_within_the_same_attempt(
    ledger: Ledger, tenant: TenantId
) -> None:
    guarded = Guarded("token-1")
    async with (
        receiving(TokenServer()) as tokens,
        receiving(guarded) as receiver,
        working(ledger) as dispatcher,
    ):
        endpoint = await owed(ledger, tenant, receiver, oauth2(tokens))
        await deliver(ledger, dispatcher, endpoint)
        guarded.take("token-2")
        await on.accept(ledger, tenant)
        await deliver(ledger, dispatcher, endpoint)
    assert carried(receiver.requests) == ["Bearer token-1", "Bearer token-1", "Bearer token-2"]
    found = await on.rows(ledger, "select status, attempts from deliveries")
    assert [tuple(row) for row in found] == [("succeeded", 1), ("succeeded", 1)]


async def test_an_endpoint_that_refuses_every_token_is_asked_once_an_attempt(
    ledger: Ledger, tenant: TenantId
) -> None:
    server = TokenServer()
    async with receiving(server) as tokens, receiving(Guarded()) as receiver, working(ledger) as dispatcher:
        endpoint = await owed(ledger, tenant, receiver, oauth2(tokens))
        await deliver(ledger, dispatcher, endpoint)
    assert (len(server.asked), len(receiver.requests)) == (1, 1)
    _, (attempt,) = await told(ledger, tenant, endpoint)
    assert (attempt.status, attempt.decision) == (401, "retry")


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (answer("401 Unauthorized"), "The token server answered 401 Unauthorized"),
        (answer("500 Oh"), "The token server answered 500 Internal Server Error"),
        (answer("302 Found", b"", "Location: http://10.0.0.1/"), "The token server answered 302 Found"),
        (answer(body=b"<html>"), "not a token"),
        (answer(body=b"\xff"), "not a token"),
        (answer(body=b"{}"), "not a token"),
        (answer(body=b'{"access_token": 7}'), "not a token"),
        (answer(body=b'{"access_token": "a", "expires_in": "soon"}'), "not a token"),
        (answer(body=b'{"access_token": "a", "expires_in": "nan"}'), "not a token"),
        (answer(body=b'{"access_token": "a", "token_type": "mac"}'), "not a bearer token"),
        (answer(body=b'{"access_token": ""}'), "cannot be sent"),
        (answer(body=b'{"access_token": "a\\r\\nX: y"}'), "cannot be sent"),
        (answer(body=b'{"access_token": "' + b"a" * 9_000 + b'"}'), "cannot be sent"),
    ],
)
async def test_a_token_server_that_gives_no_token_is_named_as_what_failed(
    ledger: Ledger, tenant: TenantId, said: bytes, why: str
) -> None:
    server = TokenServer(instead=said)
    async with (
        receiving(server) as tokens,
        receiving(always(answer())) as receiver,
        working(ledger) as dispatcher,
    ):
        endpoint = await owed(ledger, tenant, receiver, oauth2(tokens))
        await deliver(ledger, dispatcher, endpoint)
    assert receiver.requests == []
    _, (attempt,) = await told(ledger, tenant, endpoint)
    assert (attempt.outcome, attempt.decision, attempt.status) == ("unreachable", "retry", None)
    assert attempt.detail.startswith("The endpoint's token server gave no token (")
    assert why in attempt.detail


async def test_a_token_server_that_never_answers_costs_one_time_limit(
    ledger: Ledger, tenant: TenantId
) -> None:
    manner = Manner(timeout=timedelta(seconds=0.3))
    async with (
        receiving(never) as tokens,
        receiving(always(answer())) as receiver,
        working(ledger, manner) as dispatcher,
    ):
        endpoint = await owed(ledger, tenant, receiver, oauth2(tokens))
        await deliver(ledger, dispatcher, endpoint)
    _, (attempt,) = await told(ledger, tenant, endpoint)
    assert (attempt.outcome, attempt.decision) == ("unreachable", "retry")
    assert "time was up" in attempt.detail


async def test_a_token_server_inside_is_not_dialled(ledger: Ledger, tenant: TenantId) -> None:
    async with receiving(always(answer())) as receiver, working(ledger) as dispatcher:
        auth = oauth2(receiver) | {"token_url": "http://10.0.0.1/token"}
        endpoint = await owed(ledger, tenant, receiver, auth)
        await deliver(ledger, dispatcher, endpoint)
    _, (attempt,) = await told(ledger, tenant, endpoint)
    assert (attempt.outcome, receiver.requests) == ("blocked", [])
    assert "10.0.0.1" in attempt.detail

"""Destinations that have got into the ledger all the same: each attempt is recorded as blocked, with why."""

from __future__ import annotations

import socket
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from delivery.transport import Guard
from tests.support import ledger as on
from tests.support.destinations import CORPUS, name_server
from tests.support.ledger import Wanted
from tests.support.receivers import always, answer, has_caught, receiving
from tests.support.worker import Manner, finished, working

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Row

    from delivery.ledger import Ledger
    from delivery.model import EndpointId, TenantId
    from tests.support.receivers import Conversation

STRICT = Manner(guard=Guard(), lookup=name_server)


async def delivered(
    ledger: Ledger, tenant: TenantId, endpoints: Sequence[EndpointId], manner: Manner | None = None
) -> Sequence[Row[*tuple[object, ...]]]:
    """Deliver one event to these endpoints, and give the attempts that were recorded."""
    await on.accept(ledger, tenant)
    async with working(ledger, manner) as dispatcher:
        taken = await on.claim(ledger, endpoints, take=1)
        for claim_id in taken.claims:
            await dispatcher.start(claim_id)
        await finished(dispatcher)
    return await on.rows(
        ledger, "select endpoint_id, outcome, reason, decision, detail, address, status, worker from attempts"
    )


def storable(url: str) -> bool:
    """Whether PostgreSQL can hold it."""
    return "\0" not in url


async def test_what_leads_inside_is_blocked_though_it_stands_in_the_ledger(ledger: Ledger, tenant: TenantId):
    with closing(socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)) as inside:
        inside.settimeout(0)
        port = inside.getsockname()[1]
        attacks = {
            await on.new_endpoint(ledger, tenant, Wanted(attack.url(port))): attack
            for attack in CORPUS
            if storable(attack.form)
        }
        found = await delivered(ledger, tenant, list(attacks), STRICT)
        assert not has_caught(inside)
    assert {row.endpoint_id for row in found} == attacks.keys()
    for row in found:
        assert (row.outcome, row.reason, row.decision) == ("blocked", "blocked", "retry")
        assert (row.address, row.status) == (None, None)
        assert attacks[row.endpoint_id].why in row.detail
        assert row.detail.isprintable()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-A", "a\r\nX-B: b"),
        ("X-A", "a\n\nPOST /admin HTTP/1.1"),
        ("X-A\r\nX-B", "b"),
        ("X-A: x\r\nTransfer-Encoding", "chunked"),
        ("X A", "b"),
        ("Content-Length ", "0"),
        ("Transfer-Encoding\t", "chunked"),
        ("", "b"),
        ("X-A", "ü"),
        ("X-Ä", "a"),
        ("X-A", "a\u2028b"),
    ],
)
async def test_a_header_that_would_make_another_request_sends_none(
    ledger: Ledger, tenant: TenantId, name: str, value: str
):
    async with receiving(always(answer())) as receiver:
        endpoint = await on.new_endpoint(ledger, tenant, Wanted(receiver.url(), headers={name: value}))
        (attempt,) = await delivered(ledger, tenant, [endpoint])
        assert receiver.connections == 0
    assert attempt.outcome == "blocked"
    assert "cannot be sent" in attempt.detail


@pytest.mark.parametrize(
    "name",
    [
        "Host",
        "Content-Length",
        "Transfer-Encoding",
        "transfer-encoding",
        "Connection",
        "TE",
        "Expect",
        "Upgrade",
    ],
)
async def test_a_framing_header_in_the_ledger_does_not_reach_the_wire(
    ledger: Ledger, tenant: TenantId, name: str
):
    async with receiving(always(answer())) as receiver:
        endpoint = await on.new_endpoint(ledger, tenant, Wanted(receiver.url(), headers={name: "evil"}))
        (attempt,) = await delivered(ledger, tenant, [endpoint])
    assert attempt.outcome == "delivered"
    assert b"evil" not in receiver.requests[0].head
    assert receiver.requests[0].head.lower().count(b"\r\nhost: ") == 1
    assert receiver.requests[0].head.lower().count(b"\r\ncontent-length: ") == 1


async def test_what_a_receiver_writes_cannot_command_who_reads_the_ledger(ledger: Ledger, tenant: TenantId):
    async def odd(conversation: Conversation) -> None:
        await conversation.hear()
        await conversation.say(b"HTTP/1.1 \x1b[31m\x9b\x07 200 \xe2\x80\xae\r\n\x1b]0;x\x07: y\r\n\r\n")

    async with receiving(odd) as receiver:
        endpoint = await on.new_endpoint(ledger, tenant, Wanted(receiver.url()))
        (attempt,) = await delivered(ledger, tenant, [endpoint])
    assert attempt.outcome == "unreachable"
    assert attempt.detail.isprintable()

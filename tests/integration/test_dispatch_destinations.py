"""Invalid destinations in the ledger: each attempt is recorded as blocked, with the reason."""

from __future__ import annotations

import socket
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from delivery.destinations.ssrf_guard import Guard
from tests.support import ledger_builders as build
from tests.support.in_process_worker import WorkerSpec, run_worker, wait_until_idle
from tests.support.ledger_builders import EndpointSpec
from tests.support.receivers import answer_always, make_response, run_receiver, was_dialled
from tests.support.ssrf_corpus import CORPUS, resolve_hostile_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Row

    from delivery.domain.ids import EndpointId, TenantId
    from delivery.ledger.db.session import Ledger
    from tests.support.receivers import Conversation

STRICT = WorkerSpec(guard=Guard(), lookup=resolve_hostile_name)


async def deliver(
    ledger: Ledger, tenant: TenantId, endpoints: Sequence[EndpointId], manner: WorkerSpec | None = None
) -> Sequence[Row[*tuple[object, ...]]]:
    """Deliver one event to these endpoints, and return the recorded attempts."""
    await build.accept_event(ledger, tenant)
    async with run_worker(ledger, manner) as dispatcher:
        taken = await build.claim_deliveries(ledger, endpoints, take=1)
        for claim_id in taken.claim_ids:
            await dispatcher.start_claim(claim_id)
        await wait_until_idle(dispatcher)
    return await build.fetch_rows(
        ledger, "select endpoint_id, outcome, reason, decision, detail, address, status, worker from attempts"
    )


def is_storable(url: str) -> bool:
    """Whether PostgreSQL can store it."""
    return "\0" not in url


async def test_stored_internal_destination_is_blocked_at_dispatch(ledger: Ledger, tenant: TenantId):
    with closing(socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)) as inside:
        inside.settimeout(0)
        port = inside.getsockname()[1]
        attacks = {
            await build.create_endpoint(ledger, tenant, EndpointSpec(attack.url(port))): attack
            for attack in CORPUS
            if is_storable(attack.url_template)
        }
        found = await deliver(ledger, tenant, list(attacks), STRICT)
        assert not was_dialled(inside)
    assert {row.endpoint_id for row in found} == attacks.keys()
    for row in found:
        assert (row.outcome, row.reason, row.decision) == ("blocked", "blocked", "retry")
        assert (row.address, row.status) == (None, None)
        assert attacks[row.endpoint_id].reason in row.detail
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
async def test_header_injection_blocks_the_request(ledger: Ledger, tenant: TenantId, name: str, value: str):
    async with run_receiver(answer_always(make_response())) as receiver:
        endpoint = await build.create_endpoint(
            ledger, tenant, EndpointSpec(receiver.url(), headers={name: value})
        )
        (attempt,) = await deliver(ledger, tenant, [endpoint])
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
    async with run_receiver(answer_always(make_response())) as receiver:
        endpoint = await build.create_endpoint(
            ledger, tenant, EndpointSpec(receiver.url(), headers={name: "evil"})
        )
        (attempt,) = await deliver(ledger, tenant, [endpoint])
    assert attempt.outcome == "delivered"
    assert b"evil" not in receiver.requests[0].head
    assert receiver.requests[0].head.lower().count(b"\r\nhost: ") == 1
    assert receiver.requests[0].head.lower().count(b"\r\ncontent-length: ") == 1


async def test_receiver_text_is_sanitized_in_the_ledger(ledger: Ledger, tenant: TenantId):
    async def odd(conversation: Conversation) -> None:
        await conversation.read_request()
        await conversation.write_bytes(
            b"HTTP/1.1 \x1b[31m\x9b\x07 200 \xe2\x80\xae\r\n\x1b]0;x\x07: y\r\n\r\n"
        )

    async with run_receiver(odd) as receiver:
        endpoint = await build.create_endpoint(ledger, tenant, EndpointSpec(receiver.url()))
        (attempt,) = await deliver(ledger, tenant, [endpoint])
    assert attempt.outcome == "unreachable"
    assert attempt.detail.isprintable()

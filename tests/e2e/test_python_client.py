"""The producers' client against the real `web`: whatever happens on the way, there is one event."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from tests.support.stack import wait_until
from tests.support.tcp_proxy import ConnectionCut, NetworkConditions, TcpProxy, share_listeners
from waybill_client import AsyncClient, Client, Conflict, Event, Invalid, NotAuthenticated, Retries

if TYPE_CHECKING:
    from tests.support.api import Api
    from tests.support.stack import Stack

SOON = Retries(max_tries=1_000, first_wait=timedelta(milliseconds=5), max_wait=timedelta(milliseconds=100))
ACCEPTED = b"HTTP/1.1 202"


class Cutting:
    """Cuts the connection in the middle of the first answers that tell of an accepted event."""

    def __init__(self, times: int) -> None:
        self.left = times

    def hear(self, data: bytes) -> None:
        if data.startswith(ACCEPTED) and self.left:
            self.left -= 1
            raise ConnectionCut


def events(tenant: Api) -> list[object]:
    return [event["id"] for event in tenant.list_all("/v1/events")]


def test_an_event_is_sent_and_its_data_arrive_byte_for_byte(engine: Api) -> None:
    tenant = engine.create_tenant()
    tenant.post("/v1/endpoints", {"url": "https://shop.example/in"})
    with Client(engine.url, tenant.key) as client:
        sent = client.send("order.created", {"name": "Zoë", "total": "19.90"})
    assert sent.deliveries == 1
    read = tenant.get(f"/v1/events/{sent.id}")
    assert read["body"]["data"] == {"name": "Zoë", "total": "19.90"}
    assert read["type"] == sent.type == "order.created"


def test_a_connection_cut_in_the_middle_of_answers_makes_no_second_event(engine: Api) -> None:
    tenant = engine.create_tenant()
    cutting = Cutting(3)
    port = int(engine.url.rpartition(":")[2])
    with (
        TcpProxy("127.0.0.1", port, share_listeners(on_server_bytes=cutting.hear)) as proxy,
        Client(f"http://127.0.0.1:{proxy.port}", tenant.key, retries=SOON) as client,
    ):
        sent = client.send("order.created", 1)
    assert cutting.left == 0
    assert sent.replayed
    assert events(tenant) == [sent.id]


async def test_many_cut_in_the_middle_of_answers_are_each_one_event(engine: Api) -> None:
    tenant = engine.create_tenant()
    cutting = Cutting(2)
    port = int(engine.url.rpartition(":")[2])
    with TcpProxy("127.0.0.1", port, share_listeners(on_server_bytes=cutting.hear)) as proxy:
        url = f"http://127.0.0.1:{proxy.port}"
        async with AsyncClient(url, tenant.key, retries=SOON, batch_events=40) as client:
            sent = await client.send_many([Event("order.created", {"n": n}) for n in range(100)])
            again = await client.send_many([Event("a", n) for n in range(3)], idempotency_key="mine")
            assert await client.send_many([Event("a", n) for n in range(3)], idempotency_key="mine") == [
                type(event)(event.id, event.type, event.created_at, event.deliveries, replayed=True)
                for event in again
            ]
    assert cutting.left == 0
    assert len(sent) == 100
    assert events(tenant) == [event.id for event in reversed([*sent, *again])]


def test_web_killed_between_commit_and_answer_makes_no_second_event(stack: Stack, operator: Api) -> None:
    stack.serve("web")
    tenant = operator.create_tenant()
    killed = threading.Event()

    def kill_once(data: bytes) -> None:
        if data.startswith(ACCEPTED) and not killed.is_set():
            stack.kill("web")  # the answer never reaches whoever asked
            killed.set()
            raise ConnectionCut

    with (
        TcpProxy("127.0.0.1", stack.port, share_listeners(on_server_bytes=kill_once)) as proxy,
        ThreadPoolExecutor(1) as pool,
        Client(f"http://127.0.0.1:{proxy.port}", tenant.key, retries=SOON) as client,
    ):
        sending = pool.submit(client.send, "order.created", 1)
        wait_until(killed.is_set, "web to be killed", seconds=60)
        stack.serve("web")
        sent = sending.result(60)
    assert sent.replayed
    assert events(tenant) == [sent.id]


def test_a_ledger_that_is_away_is_waited_for(stack: Stack, operator: Api) -> None:
    statuses: list[bytes] = []
    database = stack.environment["WAYBILL_DATABASE_URL"]
    host, port = database.rpartition("@")[2].partition("/")[0].split(":")
    with TcpProxy(host, int(port)) as before_ledger, ThreadPoolExecutor(1) as pool:
        stack.environment["WAYBILL_DATABASE_URL"] = database.replace(
            f"{host}:{port}", f"127.0.0.1:{before_ledger.port}"
        )
        stack.serve("web")
        tenant = operator.create_tenant()
        with (
            TcpProxy(
                "127.0.0.1",
                stack.port,
                share_listeners(on_server_bytes=lambda data: statuses.append(data[9:12])),
            ) as proxy,
            Client(f"http://127.0.0.1:{proxy.port}", tenant.key, retries=SOON) as client,
        ):
            before_ledger.conditions = NetworkConditions(is_refusing=True)
            before_ledger.reset_connections()
            sending = pool.submit(client.send, "order.created", 1)
            wait_until(lambda: b"503" in statuses, "an answer without a ledger", seconds=60)
            before_ledger.conditions = NetworkConditions()
            sent = sending.result(60)
        assert events(tenant) == [sent.id]


def test_rate_limited_client_waits_for_retry_after(engine: Api) -> None:
    tenant_id = engine.post("/v1/tenants", {"name": "Acme"})["id"]
    made = engine.post(f"/v1/tenants/{tenant_id}/keys", {"name": "x", "requests_per_second": 1})
    reader = engine.post(f"/v1/tenants/{tenant_id}/keys", {"name": "reader"})["key"]
    statuses: list[bytes] = []
    port = int(engine.url.rpartition(":")[2])
    with (
        TcpProxy(
            "127.0.0.1", port, share_listeners(on_server_bytes=lambda data: statuses.append(data[9:12]))
        ) as proxy,
        Client(f"http://127.0.0.1:{proxy.port}", made["key"], retries=SOON) as client,
    ):
        sent = [client.send("order.created", n).id for n in range(3)]
    assert events(type(engine)(engine.url, reader)) == sent[::-1]
    # Without Retry-After it would have asked dozens of times.
    assert 1 <= statuses.count(b"429") <= 6


def test_refusals_say_what_is_wrong(engine: Api) -> None:
    tenant = engine.create_tenant()
    with Client(engine.url, tenant.key) as client:
        with pytest.raises(Invalid) as invalid:
            client.send_many([Event("order.created", 1), Event("not a type", 2)])
        assert invalid.value.type == "/problems/invalid"
        assert invalid.value.problem.errors[0]["field"] == "events.1.type"
        client.send("order.created", 1, idempotency_key="k")
        with pytest.raises(Conflict):
            client.send("order.created", 2, idempotency_key="k")
    with Client(engine.url, "wbk_wrong") as client, pytest.raises(NotAuthenticated) as refused:
        client.send("order.created", 1)
    assert refused.value.status == 401
    assert len(events(tenant)) == 1

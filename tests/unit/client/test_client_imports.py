"""The imports of the client, and the checks that it makes locally."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from typing import TYPE_CHECKING

import httpx
import pytest

from waybill_client import AsyncClient, Client, GaveUp, Retries

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

# The engine and its dependencies.
ENGINE = (
    "aiohttp",
    "fastapi",
    "pydantic",
    "structlog",
    "msgspec",
    "pika",
    "dramatiq",
    "delivery",
    "signing",
    "retries",
)
SQL = ("sqlalchemy", "psycopg")


def top_level_modules(module: str) -> set[str]:
    """The names of the packages that importing the module loads."""
    program = f"import sys, {module}; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    return {name.partition(".")[0] for name in ran.stdout.split()}


def test_the_client_imports_nothing_of_the_engine():
    loaded = top_level_modules("waybill_client")
    assert "httpx" in loaded
    assert loaded.isdisjoint((*ENGINE, *SQL, "cryptography"))


def test_the_outbox_imports_sqlalchemy_but_nothing_of_the_engine():
    loaded = top_level_modules("waybill_client.outbox")
    assert "sqlalchemy" in loaded
    assert loaded.isdisjoint(ENGINE)


@pytest.mark.parametrize("key", ["", "two words", "ü", "k" * 256])
def test_an_invalid_idempotency_key_is_refused_locally(key: str):
    with (
        Client("http://waybill.example", "wbk_x") as client,
        pytest.raises(ValueError, match="idempotency key"),
    ):
        client.send("a", 1, idempotency_key=key)


async def test_an_invalid_address_is_not_retried():
    with Client("waybill.example", "wbk_x") as client, pytest.raises(httpx.UnsupportedProtocol):
        client.send("a", 1)
    async with AsyncClient("ftp://waybill.example", "wbk_x") as client:
        with pytest.raises(httpx.UnsupportedProtocol):
            await client.send("a", 1)


def test_the_clients_options_apply_to_each_request():
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        event = {"id": "evt_1", "type": "a", "created_at": "2026-11-26T12:00:00Z", "deliveries": 0}
        return httpx.Response(202, json=event)

    with Client(
        "http://w.example/", "wbk_x", tenant="ten_1", transport=httpx.MockTransport(answer)
    ) as client:
        client.send("a", 1)
        client.send("a", 1)
    assert [str(request.url) for request in seen] == ["http://w.example/v1/events"] * 2
    assert seen[0].headers["authorization"] == "Bearer wbk_x"
    assert seen[0].headers["waybill-tenant"] == "ten_1"
    # Two calls are two events: each has its own unique key.
    assert seen[0].headers["idempotency-key"] != seen[1].headers["idempotency-key"]


async def test_an_undecodable_response_is_an_error_with_its_key():
    broken = httpx.MockTransport(
        lambda _request: httpx.Response(202, headers={"content-encoding": "gzip"}, stream=Broken())
    )
    retries = Retries(max_tries=2, first_wait=timedelta(0))
    with (
        Client("http://w.example", "wbk_x", transport=broken, retries=retries) as client,
        pytest.raises(GaveUp, match="DecodingError") as gave_up,
    ):
        client.send("a", 1, idempotency_key="k")
    assert (gave_up.value.tries, gave_up.value.idempotency_key) == (2, "k")
    async with AsyncClient("http://w.example", "wbk_x", transport=broken, retries=retries) as waiting:
        with pytest.raises(GaveUp, match="DecodingError"):
            await waiting.send("a", 1)


class Broken(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body declared as compressed that is not."""

    def __iter__(self) -> Iterator[bytes]:
        yield b"not packed"

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"not packed"

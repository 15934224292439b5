"""What happens in the demo, in order."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from delivery.cli.commands.demo.client import Client
from delivery.cli.commands.demo.receivers import listening, verifier_for
from delivery.cli.commands.demo.verdict import HELD, Account

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from delivery.cli.commands.demo.engine import Engine
    from delivery.cli.commands.demo.receivers import Receiver
    from delivery.cli.commands.demo.stage import Stage

ROUNDS = 20
BETWEEN_ROUNDS = 0.15
# From the last event on; a receiver that recovers does so within some ten seconds.
PATIENCE_SECONDS = 25.0
# So many failures in a row open a breaker; after that there are only probes, and one of them is waited for.
TRIES_OF_THE_DOWN = 11

TYPES = ("order.created", "order.paid", "order.shipped", "invoice.sent", "customer.changed")


async def play(engine: Engine, stage: Stage) -> list[Account]:
    """Run the demo on an engine that has just been started; returns both sides of what came of it."""
    async with listening(stage.receivers), _ended(engine, stage):
        found = await engine.ready()
        stage.step = "Making a tenant, a key and three endpoints"
        async with _client(found["url"], found["operator_key"]) as operator:
            _, key = await operator.create_tenant("Demo")
        async with _client(found["url"], key) as client:
            endpoints = [await _join(client, receiver) for receiver in stage.receivers]
            watching = asyncio.create_task(_watch(client, endpoints, stage))
            try:
                stage.step = "Publishing"
                await _publish(client, stage)
                stage.step = "Waiting for probes and retries"
                await _settled(stage, watching)
            finally:
                watching.cancel()
            stage.step = "Reading the ledger"
            return await _settled_accounts(client, stage, endpoints)


async def _join(client: Client, receiver: Receiver) -> str:
    """Make the receiver's endpoint, and give it the secret to verify with."""
    endpoint_id, secret = await client.create_endpoint(receiver)
    receiver.verifier = verifier_for(secret)
    return endpoint_id


async def _publish(client: Client, stage: Stage) -> None:
    """Publish in rounds: half of a round one by one at the same time, the other half as a batch."""
    events = [_event(number) for number in range(stage.events)]
    size = -(-len(events) // ROUNDS)
    for start in range(0, len(events), size):
        part = events[start : start + size]
        singles, batch = part[: len(part) // 2], part[len(part) // 2 :]
        requests = [*map(client.publish, singles), client.publish_batch(batch)]
        for request in asyncio.as_completed(requests):
            stage.accepted += await request
        await asyncio.sleep(BETWEEN_ROUNDS)


def _event(number: int) -> dict[str, Any]:
    return {
        "type": TYPES[number % len(TYPES)],
        "data": {"order": 1_000 + number, "customer": "Ada Lovelace", "total": "19.90"},
    }


async def _watch(client: Client, endpoints: list[str], stage: Stage) -> None:
    """Keep the stage's view of what only the engine knows: breakers, and what is owed to who is down."""
    while True:
        for receiver, endpoint_id in zip(stage.receivers, endpoints, strict=True):
            stage.breakers[receiver.name] = await client.breaker_of(endpoint_id)
        owed = await client.owed_to(endpoints[-1])
        stage.held = sum(one.status in HELD for one in owed)
        stage.tried = sum(one.attempts for one in owed)
        await asyncio.sleep(0.5)


async def _settled(stage: Stage, watching: asyncio.Task[None]) -> None:
    """Wait until everybody has what is to come; the verdict says what is missing if that takes too long."""
    patience = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < patience:
        tried_enough = stage.tried >= TRIES_OF_THE_DOWN
        if tried_enough and all(r.down or len(r.verified) >= stage.events for r in stage.receivers):
            return
        if watching.done():  # it only ends by an error
            watching.result()
        await asyncio.sleep(0.1)


async def _settled_accounts(client: Client, stage: Stage, endpoints: list[str]) -> list[Account]:
    """Both sides; a success is in the ledger a moment after its receiver has seen it."""
    patience = time.monotonic() + PATIENCE_SECONDS
    while True:
        accounts = [
            await _account(client, receiver, endpoint_id)
            for receiver, endpoint_id in zip(stage.receivers, endpoints, strict=True)
        ]
        done = all(a.down or a.count("succeeded") == len(a.owed) for a in accounts)
        if done or time.monotonic() > patience:
            return accounts
        await asyncio.sleep(0.2)


async def _account(client: Client, receiver: Receiver, endpoint_id: str) -> Account:
    owed = await client.owed_to(endpoint_id)
    if receiver.down:
        owed = await client.explained(owed)
    return Account(
        receiver.name, receiver.down, receiver.refused, receiver.forged, dict(receiver.verified), owed
    )


@asynccontextmanager
async def _client(url: str, key: str) -> AsyncIterator[Client]:
    client = Client(url, key)
    try:
        yield client
    finally:
        await client.close()


@asynccontextmanager
async def _ended(engine: Engine, stage: Stage) -> AsyncIterator[None]:
    """Stop the engine at the end, while its receivers still answer."""
    try:
        yield
    finally:
        stage.step = "Stopping the engine"
        await engine.stop()
        stage.done = True

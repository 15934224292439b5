"""The naive baseline: an engine written in an afternoon with the same libraries.

One Dramatiq message for each delivery, an async actor with an `httpx.AsyncClient`, and a commit for each row.
It signs as the engine does and records the same facts, but has no claims, fairness, SSRF guard or group
commit. `dramatiq benchmarks.naive_baseline` runs its workers, with Dramatiq's default of eight threads per
process: 16, 32 and 64 were slower.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime

import dramatiq
import httpx
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.middleware import AsyncIO, Retries
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from signing import parse_secret, sign

TABLES = """
    drop table if exists naive_deliveries, naive_attempts;
    create table naive_deliveries (
        id bigint primary key, url text not null, secret text not null, body bytea not null,
        status text not null default 'pending', finished_at timestamptz
    );
    create table naive_attempts (
        id bigint generated always as identity primary key, delivery_id bigint not null,
        at timestamptz not null, status int not null, headers text not null, body bytea not null
    );
"""
QUEUE = "naive"

broker = RabbitmqBroker(
    url=os.environ["WAYBILL_AMQP_URL"],
    confirm_delivery=True,
    middleware=[Retries(max_retries=0), AsyncIO()],
)
dramatiq.set_broker(broker)
engine = create_async_engine(os.environ["WAYBILL_DATABASE_URL"], pool_size=16)
client = httpx.AsyncClient(timeout=15)


@dramatiq.actor(queue_name=QUEUE)
async def deliver(delivery_id: int) -> None:
    """Load, sign, post, record: one delivery, two transactions."""
    async with engine.begin() as connection:
        row = (
            await connection.execute(
                text("select url, secret, body from naive_deliveries where id = :id"), {"id": delivery_id}
            )
        ).one()
    now = datetime.now(UTC)
    signed = sign([parse_secret(row.secret)], message_id=f"msg_{delivery_id}", timestamp=now, body=row.body)
    answer = await client.post(row.url, content=row.body, headers=signed.to_dict())
    async with engine.begin() as connection:
        await connection.execute(
            text(
                "insert into naive_attempts (delivery_id, at, status, headers, body) "
                "values (:id, :at, :status, :headers, :body)"
            ),
            {
                "id": delivery_id,
                "at": now,
                "status": answer.status_code,
                "headers": str(answer.headers),
                "body": answer.content,
            },
        )
        await connection.execute(
            text("update naive_deliveries set status = 'succeeded', finished_at = :at where id = :id"),
            {"id": delivery_id, "at": now},
        )

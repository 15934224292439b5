"""A replay of thousands, while the worker, the relay and the broker are killed in turn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.support import postgres
from tests.support.failed_deliveries import add_failed_deliveries
from tests.support.misbehaving_receiver import MisbehavingReceiver
from tests.support.stack import wait_until

if TYPE_CHECKING:
    from tests.support.api import Api
    from tests.support.rabbitmq import PrivateRabbitMQ
    from tests.support.stack import Stack

MANY = 4_000
ENDPOINTS = 5
PATIENCE = 120
# What may be on its way when a worker dies, or stand in a queue that is lost with its confirmations.
MAX_SENT_TWICE = 2_000


def test_a_replay_of_thousands_continues_whatever_is_killed(
    stack: Stack, operator: Api, private_rabbitmq: PrivateRabbitMQ
) -> None:
    stack.environment["WAYBILL_AMQP_URL"] = private_rabbitmq.url
    stack.serve("web", "relay", "worker")
    receiver = MisbehavingReceiver(stack)
    tenant = operator.create_tenant()
    endpoints = [
        tenant.post("/v1/endpoints", {"url": receiver.get_url(f"/{number}")})["id"]
        for number in range(ENDPOINTS)
    ]
    with postgres.connect(stack.database_url) as sql:
        add_failed_deliveries(sql, endpoints, MANY)
    asked = {"selection": {"status": ["failed"]}, "reason": "their database was down"}
    path = f"/v1/replays/{tenant.post('/v1/replays', asked)['id']}"

    def progress() -> dict[str, Any]:
        return dict(tenant.get(path)["progress"])

    def done(share: float) -> bool:
        return bool(progress()["done"] >= MANY * share)

    wait_until(lambda: done(0.1), "a tenth of the replay", seconds=PATIENCE)
    stack.kill("worker")
    stack.serve("worker")
    wait_until(lambda: done(0.4), "two fifths of the replay", seconds=PATIENCE)
    stack.kill("relay")
    stack.serve("relay")
    wait_until(lambda: done(0.7), "most of the replay", seconds=PATIENCE)
    private_rabbitmq.kill()
    private_rabbitmq.restart()
    wait_until(lambda: tenant.get(path)["state"] == "finished", "the end of the replay", seconds=PATIENCE)

    told = progress()
    assert (told["selected"], told["succeeded"], told["remaining"]) == (MANY, MANY, 0)
    times = [count for seen in receiver.read_stats(ids=True).values() for count in seen.times.values()]
    assert len(times) == MANY
    assert sum(times) - MANY < MAX_SENT_TWICE
    with postgres.connect(stack.database_url) as sql:
        ended = sql.execute("select status, count(*) from deliveries group by status").fetchall()
        assert ended == [("succeeded", MANY)]
        for left in ("schedule", "failures", "claims"):
            assert sql.execute(f"select count(*) from {left}").fetchone() == (0,)  # noqa: S608  our tables

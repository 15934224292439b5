"""`python -m workers.relay_process`: one relay, until SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog
import uvloop

from delivery.bootstrap import clock, open_ledger, retention, rolling, watched
from delivery.cli.door import report
from delivery.config import read_settings
from delivery.errors import Misconfigured, Unavailable
from delivery.garbage import collect_seldom
from delivery.logs import set_up_logs
from delivery.model import Lane
from workers.broker import ADVANCE_ACTOR, REPLAY_ACTOR, Publisher, queue_of, rabbitmq_broker
from workers.figures import Counting
from workers.relay import Pace, Relay
from workers.replaying import Replaying
from workers.retention import Keeping
from workers.upkeep import Ages, Upkeep
from workers.watching import Watching

if TYPE_CHECKING:
    from dramatiq import Broker

    from delivery.config import Settings
    from delivery.ledger import Ledger


log = structlog.get_logger()


def make_relay(settings: Settings, ledger: Ledger, broker: Broker) -> Relay:
    """Wire a relay on the running loop, which publishes to this broker."""
    pace = Pace(
        poll=timedelta(seconds=settings.poll_seconds),
        window=timedelta(seconds=settings.window_seconds),
        queue_lease=settings.queue_lease,
        in_flight=settings.endpoint_in_flight_max,
        replay_share=settings.replay_share,
    )
    ages = Ages(
        idempotency=timedelta(hours=settings.idempotency_hours),
        delivery=timedelta(days=settings.delivery_max_age_days),
        message=timedelta(days=settings.retention_payload_days),
    )
    upkeep = Upkeep(ledger, ages, clock=clock)
    live = Publisher(broker, queue_of(settings, Lane.LIVE))
    replays = Publisher(broker, queue_of(settings, Lane.REPLAY), actor=REPLAY_ACTOR)
    steps = Publisher(broker, queue_of(settings, Lane.REPLAY), actor=ADVANCE_ACTOR)
    sides = [
        Replaying(ledger, steps).run,
        Keeping(retention(settings, ledger)).run,
        Counting(rolling(settings, ledger)).run,
        Watching(ledger, live, clock=clock).run,
    ]
    return Relay(ledger, live, upkeep, pace, replays=replays, sides=sides)


async def run(settings: Settings) -> None:
    """Run a relay on this loop until a signal says to stop."""
    ledger = open_ledger(settings, "relay")
    relay = make_relay(settings, ledger, rabbitmq_broker(settings))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, relay.stop)
    with suppress(Unavailable):  # it says so itself, for as long as it lasts
        await ledger.check_walls()  # an account that sees no rows would find nothing due, for ever
    collect_seldom()
    log.info("relay.ready", pid=os.getpid())
    try:
        async with watched(settings, ledger, port=settings.relay_metrics_port):
            await relay.run()
    finally:
        await ledger.close()
    log.info("relay.stopped", pid=os.getpid())


def main() -> None:
    """Read the settings, run, and say in one line what is wrong with them."""
    try:
        settings = read_settings()
        set_up_logs(settings)
        uvloop.run(run(settings))
    except Misconfigured as error:
        sys.exit(report(error))


if __name__ == "__main__":
    main()

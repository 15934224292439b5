"""`python -m workers.processes.relay`: one relay, until SIGTERM or SIGINT."""

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

from delivery.bootstrap import build_retention, build_stats_rollup, expose_metrics, open_ledger
from delivery.cli.runtime import report_error
from delivery.clock import clock
from delivery.config import read_settings
from delivery.domain.delivery import Priority
from delivery.domain.errors import Misconfigured, Unavailable
from delivery.telemetry.logs import configure_logging
from workers.broker.broker import (
    ADVANCE_REPLAY_ACTOR,
    DELIVER_REPLAYS_ACTOR,
    Publisher,
    create_rabbitmq_broker,
    get_queue_name,
)
from workers.processes.garbage_collection import tune_gc
from workers.relay.relay import Relay, RelayConfig
from workers.tasks.gauges import GaugeLoop
from workers.tasks.maintenance import MaintenanceLoop, MaxAges
from workers.tasks.replays import ReplayLoop
from workers.tasks.retention import RetentionLoop
from workers.tasks.rollup import RollupLoop

if TYPE_CHECKING:
    from dramatiq import Broker

    from delivery.config import Settings
    from delivery.ledger.db.session import Ledger


log = structlog.get_logger()


def create_relay(settings: Settings, ledger: Ledger, broker: Broker) -> Relay:
    """Wire a relay on the running loop, which publishes to this broker."""
    pace = RelayConfig(
        poll_interval=timedelta(seconds=settings.poll_seconds),
        window=timedelta(seconds=settings.window_seconds),
        queue_lease=settings.queue_lease,
        default_max_in_flight=settings.endpoint_in_flight_max,
        replay_share=settings.replay_share,
    )
    ages = MaxAges(
        idempotency=timedelta(hours=settings.idempotency_hours),
        delivery=timedelta(days=settings.delivery_max_age_days),
        message=timedelta(days=settings.retention_payload_days),
    )
    upkeep = MaintenanceLoop(ledger, ages, clock=clock)
    live = Publisher(broker, get_queue_name(settings, Priority.LIVE))
    replays = Publisher(broker, get_queue_name(settings, Priority.REPLAY), actor=DELIVER_REPLAYS_ACTOR)
    steps = Publisher(broker, get_queue_name(settings, Priority.REPLAY), actor=ADVANCE_REPLAY_ACTOR)
    sides = [
        ReplayLoop(ledger, steps).run,
        RetentionLoop(build_retention(settings, ledger)).run,
        RollupLoop(build_stats_rollup(settings, ledger)).run,
        GaugeLoop(ledger, live, clock=clock).run,
    ]
    return Relay(ledger, live, upkeep, pace, replay_publisher=replays, background_loops=sides)


async def run(settings: Settings) -> None:
    """Run a relay on this loop until a signal says to stop."""
    ledger = open_ledger(settings, "relay")
    relay = create_relay(settings, ledger, create_rabbitmq_broker(settings))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, relay.stop)
    with suppress(Unavailable):  # it says so itself, for as long as it lasts
        await (
            ledger.check_row_level_security()
        )  # an account that sees no rows would find nothing due, for ever
    tune_gc()
    log.info("relay.ready", pid=os.getpid())
    try:
        async with expose_metrics(settings, ledger, port=settings.relay_metrics_port):
            await relay.run()
    finally:
        await ledger.close()
    log.info("relay.stopped", pid=os.getpid())


def main() -> None:
    """Read the settings, run, and say in one line what is wrong with them."""
    try:
        settings = read_settings()
        configure_logging(settings)
        uvloop.run(run(settings))
    except Misconfigured as error:
        sys.exit(report_error(error))


if __name__ == "__main__":
    main()

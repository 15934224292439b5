"""The relay process: claims due deliveries and publishes them, until SIGTERM or SIGINT."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

import uvloop

from delivery.bootstrap import (
    build_maintenance,
    build_retention,
    build_stats_rollup,
    expose_metrics,
    open_ledger,
)
from delivery.clock import clock
from delivery.domain.delivery import Priority
from delivery.domain.errors import Unavailable
from delivery.log import get_logger
from workers.broker.broker import (
    ADVANCE_REPLAY_ACTOR,
    DELIVER_REPLAYS_ACTOR,
    Publisher,
    create_rabbitmq_broker,
    get_queue_name,
)
from workers.broker.thread import BrokerThread
from workers.garbage_collection import tune_gc
from workers.processes.signals import stop_on_signals
from workers.relay.relay import Relay, RelayConfig
from workers.tasks.gauges import create_gauge_tasks
from workers.tasks.maintenance import MaintenanceTask
from workers.tasks.replays import create_replay_task
from workers.tasks.retention import create_retention_task
from workers.tasks.rollup import create_rollup_task

if TYPE_CHECKING:
    from dramatiq import Broker

    from delivery.config import Settings
    from delivery.ledger.db.session import Ledger

log = get_logger()


def create_relay(settings: Settings, ledger: Ledger, broker: Broker) -> Relay:
    """Wire a relay on the running loop, which publishes to this broker."""
    config = RelayConfig(
        poll_interval=settings.poll_interval,
        window=settings.window,
        queue_lease=settings.queue_lease,
        default_max_in_flight=settings.endpoint_in_flight_max,
        replay_share=settings.replay_share,
    )
    live_queue = get_queue_name(settings, Priority.LIVE)
    replay_queue = get_queue_name(settings, Priority.REPLAY)
    publisher = Publisher(broker, live_queue)
    step_publisher = Publisher(broker, replay_queue, actor=ADVANCE_REPLAY_ACTOR)
    thread = BrokerThread()
    return Relay(
        ledger,
        publisher,
        MaintenanceTask(build_maintenance(settings, ledger)),
        config,
        replay_publisher=Publisher(broker, replay_queue, actor=DELIVER_REPLAYS_ACTOR),
        broker_thread=thread,
        background_tasks=[
            create_replay_task(ledger, step_publisher, thread),
            create_retention_task(build_retention(settings, ledger)),
            create_rollup_task(build_stats_rollup(settings, ledger)),
            *create_gauge_tasks(ledger, publisher, thread, clock=clock),
        ],
    )


async def run(settings: Settings) -> None:
    """Run a relay on this loop until a signal says to stop."""
    ledger = open_ledger(settings, "relay")
    relay = create_relay(settings, ledger, create_rabbitmq_broker(settings))
    stop_on_signals(relay.stop)
    with suppress(Unavailable):  # the relay logs it, for as long as it lasts
        # An account for which row-level security hides every row would never find anything due.
        await ledger.check_row_level_security()
    tune_gc()
    log.info("relay.ready", pid=os.getpid())
    try:
        async with expose_metrics(settings, ledger, port=settings.relay_metrics_port):
            await relay.run()
    finally:
        await ledger.close()
    log.info("relay.stopped", pid=os.getpid())


def serve(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT. Raises Misconfigured."""
    uvloop.run(run(settings))

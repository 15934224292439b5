"""The ingest process: one consumer of the ingest queue, until SIGTERM or SIGINT."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import uvloop

from delivery.bootstrap import Services, expose_metrics, open_ledger
from delivery.log import get_logger
from workers.broker.broker import build_connection_parameters, get_ingest_queue_name
from workers.garbage_collection import tune_gc
from workers.ingest.consumer import Consumer, IngestConfig
from workers.processes.signals import stop_on_signals

if TYPE_CHECKING:
    from delivery.config import Settings

log = get_logger()


async def run(settings: Settings) -> None:
    """Run a consumer on this loop until a signal says to stop."""
    services = Services(settings, open_ledger(settings, "ingest"))
    config = IngestConfig(get_ingest_queue_name(settings), settings.ingest_prefetch, settings.event_max_bytes)
    consumer = Consumer(build_connection_parameters(settings), config, services.amqp_intake.handle_message)
    stop_on_signals(consumer.stop)
    tune_gc()
    log.info("ingest.ready", pid=os.getpid())
    try:
        async with expose_metrics(settings, services.ledger, port=settings.ingest_metrics_port):
            await consumer.run()
    finally:
        await services.close()
    log.info("ingest.stopped", pid=os.getpid())


def serve(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT. Raises Misconfigured."""
    uvloop.run(run(settings))

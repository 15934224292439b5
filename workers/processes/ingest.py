"""`python -m workers.processes.ingest`: one consumer of the ingest queue, until SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import TYPE_CHECKING

import structlog
import uvloop

from delivery.bootstrap import Services, expose_metrics, open_ledger
from delivery.cli.runtime import report_error
from delivery.config import read_settings
from delivery.domain.errors import Misconfigured
from delivery.telemetry.logs import configure_logging
from workers.broker.broker import build_connection_parameters, get_ingest_queue_name
from workers.ingest.consumer import Consumer, IngestConfig
from workers.processes.garbage_collection import tune_gc

if TYPE_CHECKING:
    from delivery.config import Settings

log = structlog.get_logger()


async def run(settings: Settings) -> None:
    """Run a consumer on this loop until a signal says to stop."""
    uses = Services(settings, open_ledger(settings, "ingest"))
    terms = IngestConfig(get_ingest_queue_name(settings), settings.ingest_prefetch, settings.event_max_bytes)
    consumer = Consumer(build_connection_parameters(settings), terms, uses.amqp_intake.handle_message)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, consumer.stop)
    tune_gc()
    log.info("ingest.ready", pid=os.getpid())
    try:
        async with expose_metrics(settings, uses.ledger, port=settings.ingest_metrics_port):
            await consumer.run()
    finally:
        await uses.close()
    log.info("ingest.stopped", pid=os.getpid())


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

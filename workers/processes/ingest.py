"""`python -m workers.ingest_process`: one consumer of the ingest queue, until SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import TYPE_CHECKING

import structlog
import uvloop

from delivery.bootstrap import open_ledger, services, watched
from delivery.cli.door import report
from delivery.config import read_settings
from delivery.errors import Misconfigured
from delivery.garbage import collect_seldom
from delivery.logs import set_up_logs
from workers.broker import connection_parameters, ingest_queue_of
from workers.ingest import Consumer, Terms

if TYPE_CHECKING:
    from delivery.config import Settings

log = structlog.get_logger()


async def run(settings: Settings) -> None:
    """Run a consumer on this loop until a signal says to stop."""
    uses = services(settings, open_ledger(settings, "ingest"))
    terms = Terms(ingest_queue_of(settings), settings.ingest_prefetch, settings.event_max_bytes)
    consumer = Consumer(connection_parameters(settings), terms, uses.ingest.take)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, consumer.stop)
    collect_seldom()
    log.info("ingest.ready", pid=os.getpid())
    try:
        async with watched(settings, uses.ledger, port=settings.ingest_metrics_port):
            await consumer.run()
    finally:
        await uses.close()
    log.info("ingest.stopped", pid=os.getpid())


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

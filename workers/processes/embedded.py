"""`python -m workers.processes.embedded`: the whole engine in one process, on an embedded PostgreSQL.

The relay, the actors and the API are those of the Procfile's processes; only the queue is in memory. What it
held when the process last ended is due again at once, because every lease is ended at the start.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import dramatiq
import uvloop

from delivery import embedded
from delivery.bootstrap import Services, open_ledger, require_database_url, require_secret_keys
from delivery.cli.runtime import report_error
from delivery.config import read_settings
from delivery.domain.accounts import ENGINE_ACTOR, Actor, Role
from delivery.domain.errors import Unavailable, WaybillError
from delivery.embedded.state_dir import FIRST_ADMIN_EMAIL, StateDir
from delivery.ledger.db import partitions, schema
from delivery.ledger.queue import claims
from delivery.log import get_logger
from delivery.telemetry.logs import configure_logging
from workers.broker.broker import create_in_process_broker
from workers.processes.relay import create_relay
from workers.processes.web import serve
from workers.worker.actors import DeliveryActors

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dramatiq import Broker

    from delivery.config import Settings
    from workers.relay.relay import Relay

log = get_logger()


def main() -> None:
    """Run until SIGTERM or SIGINT, and stop everything that was started."""
    try:
        settings = read_settings()
        configure_logging(settings)
        home = StateDir.from_settings(settings)
        keys = home.prepare_keys()
        with _open_database(settings, home) as url:
            own = read_settings({"database_url": url, **keys})
            schema.upgrade(url)
            run(own, home)
    except WaybillError as error:
        sys.exit(report_error(error))


def run(settings: Settings, home: StateDir) -> None:
    """Run relay, worker and web until a signal ends web, then stop the others in turn."""
    uvloop.run(_prepare(settings, home))
    deliveries = DeliveryActors(settings)
    broker = create_in_process_broker([deliveries])
    deliveries.declare_actors(broker)
    worker = dramatiq.Worker(broker, worker_threads=settings.worker_threads, worker_timeout=100)
    worker.start()
    relay = _RelayThread(settings, broker)
    relay.start()

    def announce(url: str) -> None:
        # Commands beside us need the ledger, and judge endpoints as we do.
        home.write_running_settings(
            {
                "database_url": require_database_url(settings),
                "secret_keys": require_secret_keys(settings).text,
                "operator_key": settings.operator_key.text if settings.operator_key else "",
                "allow_http": str(settings.allow_http),
                "allow_networks": str(settings.allow_networks),
                "url": url,
                "public_url": settings.public_url or url,
            }
        )

    try:
        serve(settings, on_ready=announce)
    finally:
        home.remove_running_settings()
        relay.stop()
        worker.stop(timeout=10_000)
        broker.close()
    if relay.has_failed:
        raise Unavailable("The relay ended unexpectedly, so the engine stopped; the log says why.")


@contextmanager
def _open_database(settings: Settings, home: StateDir) -> Iterator[str]:
    if settings.database_url is not None:
        yield settings.database_url.text
        return
    with embedded.start(home.folder / "postgres") as server:
        yield server.url


async def _prepare(settings: Settings, home: StateDir) -> None:
    services = Services(settings, open_ledger(settings, "start"))
    try:
        async with services.ledger.transaction() as tx:
            await claims.expire_all_leases(tx)
            # The journal also gets the first account.
            await partitions.ensure_partitions(tx, now=services.clock())
        if not await services.accounts.has_users():
            password = home.load_console_password()
            await services.accounts.create(
                FIRST_ADMIN_EMAIL, "Admin", Role.ADMIN, password, actor=Actor(ENGINE_ACTOR)
            )
    finally:
        await services.close()


class _RelayThread(threading.Thread):
    """A relay on its own event loop."""

    def __init__(self, settings: Settings, broker: Broker) -> None:
        super().__init__(name="relay", daemon=True)
        self._settings = settings
        self._broker = broker
        self._loop: asyncio.AbstractEventLoop | None = None
        self._relay: Relay | None = None
        self.has_failed = False

    def run(self) -> None:
        try:
            uvloop.run(self._run())
        except Exception:
            # An API that accepts events while nothing is delivered is worse than none: end the process.
            log.exception("relay.crashed")
            self.has_failed = True
            os.kill(os.getpid(), signal.SIGTERM)

    async def _run(self) -> None:
        ledger = open_ledger(self._settings, "relay")
        self._loop = asyncio.get_running_loop()
        self._relay = create_relay(self._settings, ledger, self._broker)
        try:
            await self._relay.run()
        finally:
            await ledger.close()

    def stop(self) -> None:
        """Stop the relay and wait for it."""
        if self._loop is not None and self._relay is not None and self.is_alive():
            self._loop.call_soon_threadsafe(self._relay.stop)
        self.join(timeout=20)


if __name__ == "__main__":
    main()

"""Where faults strike: two of each process, a PostgreSQL and a RabbitMQ, and a proxy on every way to them."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Self

from sqlalchemy import make_url

from delivery import embedded
from tests.chaos.name_server import NameServer, can_override_resolver, make_resolver_command
from tests.chaos.tripwires import ProxiedLink, Tripwire
from tests.support.postgres import connect, make_temporary_folder
from tests.support.rabbitmq import PrivateRabbitMQ
from tests.support.stack import WAYBILL, Stack, find_free_port, is_ready, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import psycopg

    from delivery.embedded import EmbeddedPostgres
    from tests.chaos.tripwires import WireTrigger
    from tests.support.api import Api

PROCESSES = ("web", "web.2", "relay", "relay.2", "worker", "worker.2")
# Short leases: a worker that was killed is missed after seconds, not after three quarters of a minute. And no
# breaker that stays open for long after receivers were fine all the time.
CHAOS_SETTINGS = {
    "WAYBILL_LEASE_SECONDS": "8",
    "WAYBILL_QUEUE_LEASE_SECONDS": "6",
    "WAYBILL_ATTEMPT_TIMEOUT": "3",
    "WAYBILL_DETACH_SECONDS": "0.5",
    "WAYBILL_RETRY_SCHEDULE": "0,0.5,1,1,2,2,5,5,5,5",
    "WAYBILL_BREAKER_COOL_DOWN_SECONDS": "1",
    "WAYBILL_BREAKER_LONGEST_COOL_DOWN_SECONDS": "5",
    "WAYBILL_DRAIN_SECONDS": "2",
    "WAYBILL_WORKER_PROCESSES": "1",
    "WAYBILL_LOG_LEVEL": "info",
    "WAYBILL_LOG_FORMAT": "json",
}
TIMEOUT_SECONDS = 30.0


class ChaosEnvironment:
    """Everything that can be struck, by its name. Faults run on the main thread, one after the other."""

    def __init__(
        self,
        folder: Path,
        database: EmbeddedPostgres,
        broker: PrivateRabbitMQ,
        names: NameServer | None,
    ) -> None:
        """The servers run; of the engine nothing does yet."""
        self.folder = folder
        # Whom the workers ask for names; none where that cannot be had.
        self.name_server = names
        self._before_workers = () if names is None else make_resolver_command(names.address, folder)
        self.database = database
        self.broker = broker
        self.stack = Stack(folder, database.url, broker.url)
        self.stack.environment |= CHAOS_SETTINGS
        self.ports = {"web": self.stack.port, "web.2": find_free_port()}
        # A tenant for replays, and how many of its deliveries have succeeded; how many replays were finished.
        self.replay_tenant: tuple[Api, int] | None = None
        self.finished_replays = 0
        self._exits = ExitStack()
        self.database_links = {name: self._link(name, database.port, sql=True) for name in PROCESSES}
        self.broker_links = {name: self._link(name, broker.port, sql=False) for name in PROCESSES[2:]}
        for name in PROCESSES:
            self.stack.process_environment[name] = self._own(name)

    def __enter__(self) -> Self:
        self.stack.run(str(WAYBILL), "db", "upgrade")
        self.serve(*PROCESSES)
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.stop()
        self._exits.close()

    # Processes.

    def serve(self, *names: str) -> None:
        """Start processes, and wait until those of `web` are ready."""
        for name in names:
            before = self._before_workers if get_process_kind(name) == "worker" else ()
            self.stack.start(name, *before, str(WAYBILL), "serve", get_process_kind(name))
        for name in names:
            if name in self.ports:
                wait_until(partial(is_ready, self.ports[name]), f"{name} to be ready", seconds=90)

    def kill(self, name: str) -> None:
        """Kill a process and all it started. Any thread may."""
        self.stack.kill(name)

    def restart_stopped(self) -> None:
        """Start what has ended, by our hand or its own."""
        for name in self.stack.list_crashed():
            self.stack.kill(name)
        self.serve(*(name for name in PROCESSES if name not in self.stack.running))

    def kill_at(
        self, kind: str, trigger: WireTrigger, name: str, *, skip: int = 0, seconds: float = TIMEOUT_SECONDS
    ) -> None:
        """Kill whichever process of the kind first does this, exactly there, and start it again.

        Raises TimeoutError when none does.
        """
        wire = Tripwire(trigger, name, skip)
        links = [link for link in self.links if get_process_kind(link.process) == kind]
        for link in links:
            link.tripwire = wire
        try:
            wait_until(wire.tripped.is_set, f"a {kind} that has {trigger.value} {name}", seconds=seconds)
        finally:
            for link in links:
                link.tripwire = None
        self.serve(wire.process)

    # Servers.

    @property
    def links(self) -> list[ProxiedLink]:
        """All ways to all servers."""
        return [*self.database_links.values(), *self.broker_links.values()]

    @property
    def database_url(self) -> str:
        """The database, straight."""
        return self.database.url

    @contextmanager
    def connect(self) -> Iterator[psycopg.Connection]:
        """A connection to the database that no fault of the network reaches."""
        with connect(self.database.url) as connection:
            yield connection

    def start_database(self) -> None:
        """Start a database that has ended, where it was."""
        self.database = embedded.start(self.database.folder, port=self.database.port)

    def switch_database(self, database: EmbeddedPostgres) -> None:
        """Have every process find this database where the last one was."""
        self.database = database
        for link in self.database_links.values():
            link.proxy.server = ("127.0.0.1", database.port)
            link.proxy.reset_connections()

    def trust_authority(self, authority: Path) -> None:
        """Have the engine trust a certificate authority of ours too; before it starts."""
        self.stack.environment["SSL_CERT_FILE"] = str(authority)

    def _link(self, who: str, port: int, *, sql: bool) -> ProxiedLink:
        return self._exits.enter_context(ProxiedLink(who, ("127.0.0.1", port), self.kill, sql=sql))

    def _own(self, name: str) -> dict[str, str]:
        plain = make_url(self.database.url).set(host="127.0.0.1", port=self.database_links[name].proxy.port)
        plain = plain.update_query_dict({"sslmode": "disable"})  # encrypted there is nothing to hear
        own = {"WAYBILL_DATABASE_URL": plain.render_as_string(hide_password=False)}
        if name in self.broker_links:
            own["WAYBILL_AMQP_URL"] = f"amqp://guest:guest@127.0.0.1:{self.broker_links[name].proxy.port}/%2F"
        if name in self.ports:
            own["WAYBILL_PORT"] = str(self.ports[name])
        return own


def get_process_kind(name: str) -> str:
    """`relay` for `relay.2`."""
    return name.partition(".")[0]


@contextmanager
def start_environment() -> Iterator[ChaosEnvironment]:
    """Servers of our own, durable as in production, and the way to the engine on them; removed at the end."""
    with ExitStack() as exits:
        folder = exits.enter_context(make_temporary_folder())
        database = embedded.start(folder / "postgres", program_dir=folder / "shelter")
        exits.callback(database.stop)
        broker = exits.enter_context(PrivateRabbitMQ())
        names = exits.enter_context(NameServer()) if can_override_resolver(folder) else None
        made = ChaosEnvironment(folder, database, broker, names)
        exits.callback(lambda: made.database.stop())  # noqa: PLW0108  of then, not of now
        yield made

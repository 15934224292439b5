"""The ways between the parts: still, slow, in small pieces, reset, refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.chaos.environment import get_process_kind
from tests.chaos.fault import LEASE_RECOVERY_SECONDS, Fault, wait_seconds
from tests.support.tcp_proxy import NORMAL_CONDITIONS, NetworkConditions

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from tests.chaos.environment import ChaosEnvironment
    from tests.chaos.fault import FaultAction
    from tests.chaos.tripwires import ProxiedLink

_FAULT_SECONDS = 4.0
STALLED = NetworkConditions(is_stalled=True)
SLOW = NetworkConditions(delay_seconds=0.05)
SMALL_CHUNKS = NetworkConditions(chunk_bytes=97)
REFUSING = NetworkConditions(is_refusing=True)


def find_links(ground: ChaosEnvironment, kind: str, server: str) -> Sequence[ProxiedLink]:
    """The ways of these processes to this server; every kind's if none is named."""
    ways = ground.database_links if server == "database" else ground.broker_links
    return [link for link in ways.values() if kind in {"", get_process_kind(link.process)}]


def make_network_fault(kind: str, server: str, conditions: NetworkConditions) -> FaultAction:
    """Make weather on these ways for a few seconds."""

    def strike(ground: ChaosEnvironment, _rng: Random) -> None:
        links = find_links(ground, kind, server)
        for link in links:
            link.proxy.conditions = conditions
        try:
            if conditions.is_refusing:
                _reset_links(links)
            wait_seconds(_FAULT_SECONDS)
        finally:
            for link in links:
                link.proxy.conditions = NORMAL_CONDITIONS

    return strike


def _make_reset_fault(server: str) -> FaultAction:
    def strike(ground: ChaosEnvironment, rng: Random) -> None:
        for _ in range(3):
            _reset_links(find_links(ground, "", server))
            wait_seconds(rng.uniform(0.2, 1.5))

    return strike


def _reset_links(links: Sequence[ProxiedLink]) -> None:
    for link in links:
        link.proxy.reset_connections()


FAULTS = (
    Fault("web's way to PostgreSQL is still", "network", make_network_fault("web", "database", STALLED)),
    Fault("relays' way to PostgreSQL is still", "network", make_network_fault("relay", "database", STALLED)),
    Fault(
        "workers' way to PostgreSQL is still",
        "network",
        make_network_fault("worker", "database", STALLED),
        LEASE_RECOVERY_SECONDS,
    ),
    Fault("PostgreSQL answers 50 ms late", "network", make_network_fault("", "database", SLOW)),
    Fault(
        "PostgreSQL comes in pieces of 97 bytes", "network", make_network_fault("", "database", SMALL_CHUNKS)
    ),
    Fault(
        "every way to PostgreSQL is reset, thrice",
        "network",
        _make_reset_fault("database"),
        LEASE_RECOVERY_SECONDS,
        is_in_short_run=True,
    ),
    Fault(
        "PostgreSQL refuses connections",
        "network",
        make_network_fault("", "database", REFUSING),
        LEASE_RECOVERY_SECONDS,
    ),
    Fault(
        "every way to RabbitMQ is still",
        "network",
        make_network_fault("", "broker", STALLED),
        LEASE_RECOVERY_SECONDS,
    ),
    Fault("RabbitMQ comes in pieces of 97 bytes", "network", make_network_fault("", "broker", SMALL_CHUNKS)),
    Fault(
        "every way to RabbitMQ is reset, thrice",
        "network",
        _make_reset_fault("broker"),
        LEASE_RECOVERY_SECONDS,
    ),
    Fault(
        "RabbitMQ refuses connections",
        "network",
        make_network_fault("", "broker", REFUSING),
        LEASE_RECOVERY_SECONDS,
    ),
)

"""The ways between the parts: still, slow, in small pieces, reset, refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.chaos.fault import AFTER_A_LEASE, Fault, hold
from tests.chaos.ground import kind_of
from tests.support.proxy import FAIR, Weather

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from tests.chaos.fault import Strike
    from tests.chaos.ground import Ground
    from tests.chaos.wires import Link

_LONG = 4.0
STILL = Weather(still=True)
SLOW = Weather(late=0.05)
SLICED = Weather(piece=97)
REFUSING = Weather(refusing=True)


def links_of(ground: Ground, kind: str, server: str) -> Sequence[Link]:
    """The ways of these processes to this server; every kind's if none is named."""
    ways = ground.to_database if server == "database" else ground.to_broker
    return [link for link in ways.values() if kind in {"", kind_of(link.who)}]


def weather(kind: str, server: str, made: Weather) -> Strike:
    """Make weather on these ways for a few seconds."""

    def strike(ground: Ground, _rng: Random) -> None:
        links = links_of(ground, kind, server)
        for link in links:
            link.proxy.weather = made
        try:
            if made.refusing:
                _reset(links)
            hold(_LONG)
        finally:
            for link in links:
                link.proxy.weather = FAIR

    return strike


def _resets(server: str) -> Strike:
    def strike(ground: Ground, rng: Random) -> None:
        for _ in range(3):
            _reset(links_of(ground, "", server))
            hold(rng.uniform(0.2, 1.5))

    return strike


def _reset(links: Sequence[Link]) -> None:
    for link in links:
        link.proxy.reset()


FAULTS = (
    Fault("web's way to PostgreSQL is still", "network", weather("web", "database", STILL)),
    Fault("relays' way to PostgreSQL is still", "network", weather("relay", "database", STILL)),
    Fault(
        "workers' way to PostgreSQL is still",
        "network",
        weather("worker", "database", STILL),
        AFTER_A_LEASE,
    ),
    Fault("PostgreSQL answers 50 ms late", "network", weather("", "database", SLOW)),
    Fault("PostgreSQL comes in pieces of 97 bytes", "network", weather("", "database", SLICED)),
    Fault(
        "every way to PostgreSQL is reset, thrice", "network", _resets("database"), AFTER_A_LEASE, brief=True
    ),
    Fault("PostgreSQL refuses connections", "network", weather("", "database", REFUSING), AFTER_A_LEASE),
    Fault("every way to RabbitMQ is still", "network", weather("", "broker", STILL), AFTER_A_LEASE),
    Fault("RabbitMQ comes in pieces of 97 bytes", "network", weather("", "broker", SLICED)),
    Fault("every way to RabbitMQ is reset, thrice", "network", _resets("broker"), AFTER_A_LEASE),
    Fault("RabbitMQ refuses connections", "network", weather("", "broker", REFUSING), AFTER_A_LEASE),
)

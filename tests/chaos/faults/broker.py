"""RabbitMQ: killed, restarted, emptied, without its queues, short of memory or disk, and slow to confirm."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.chaos.fault import AFTER_A_LEASE, Fault, hold
from tests.chaos.faults.network import weather
from tests.support.proxy import Weather

if TYPE_CHECKING:
    from random import Random

    from tests.chaos.fault import Strike
    from tests.chaos.ground import Ground

_LONG = 4.0


def _kill(ground: Ground, _rng: Random) -> None:
    ground.broker.kill()
    hold(1)
    ground.broker.start()


def _restart(ground: Ground, _rng: Random) -> None:
    ground.broker.restart()


def _each_queue(*command: str) -> Strike:
    def strike(ground: Ground, _rng: Random) -> None:
        for queue in ground.broker.list_queues():
            ground.broker.ctl(*command, queue)

    return strike


def _cut(ground: Ground, _rng: Random) -> None:
    ground.broker.ctl("close_all_connections", "chaos")


def _alarm(on: tuple[str, ...], off: tuple[str, ...]) -> Strike:
    def strike(ground: Ground, _rng: Random) -> None:
        ground.broker.ctl(*on)
        try:
            hold(_LONG)
        finally:
            ground.broker.ctl(*off)

    return strike


def _frozen(ground: Ground, _rng: Random) -> None:
    with ground.broker.frozen():
        hold(_LONG)


_MEMORY = ("set_vm_memory_high_watermark", "0.00001"), ("set_vm_memory_high_watermark", "0.4")
_DISK = ("set_disk_free_limit", "mem_relative", "1000"), ("set_disk_free_limit", "50MB")
FAULTS = (
    Fault("RabbitMQ killed", "rabbitmq", _kill, AFTER_A_LEASE, brief=True),
    Fault("RabbitMQ restarted", "rabbitmq", _restart, AFTER_A_LEASE),
    Fault("queues purged", "rabbitmq", _each_queue("purge_queue"), AFTER_A_LEASE, brief=True),
    Fault("queues deleted", "rabbitmq", _each_queue("delete_queue"), AFTER_A_LEASE),
    Fault("all connections closed by RabbitMQ", "rabbitmq", _cut, AFTER_A_LEASE),
    Fault("memory alarm", "rabbitmq", _alarm(*_MEMORY)),
    Fault("disk alarm", "rabbitmq", _alarm(*_DISK)),
    Fault("RabbitMQ stands still", "rabbitmq", _frozen),
    Fault("confirms half a second late", "rabbitmq", weather("relay", "broker", Weather(late=0.5))),
)

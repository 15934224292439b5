"""RabbitMQ: killed, restarted, emptied, without its queues, short of memory or disk, and slow to confirm."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.chaos.fault import LEASE_RECOVERY_SECONDS, Fault, wait_seconds
from tests.chaos.faults.network import make_network_fault
from tests.support.tcp_proxy import NetworkConditions

if TYPE_CHECKING:
    from random import Random

    from tests.chaos.environment import ChaosEnvironment
    from tests.chaos.fault import FaultAction

_FAULT_SECONDS = 4.0


def _kill_broker(ground: ChaosEnvironment, _rng: Random) -> None:
    ground.broker.kill()
    wait_seconds(1)
    ground.broker.start()


def _restart_broker(ground: ChaosEnvironment, _rng: Random) -> None:
    ground.broker.restart()


def _make_queue_fault(*command: str) -> FaultAction:
    def strike(ground: ChaosEnvironment, _rng: Random) -> None:
        for queue in ground.broker.list_queues():
            ground.broker.run_ctl(*command, queue)

    return strike


def _close_connections(ground: ChaosEnvironment, _rng: Random) -> None:
    ground.broker.run_ctl("close_all_connections", "chaos")


def _make_alarm_fault(on: tuple[str, ...], off: tuple[str, ...]) -> FaultAction:
    def strike(ground: ChaosEnvironment, _rng: Random) -> None:
        ground.broker.run_ctl(*on)
        try:
            wait_seconds(_FAULT_SECONDS)
        finally:
            ground.broker.run_ctl(*off)

    return strike


def _freeze_broker(ground: ChaosEnvironment, _rng: Random) -> None:
    with ground.broker.freeze():
        wait_seconds(_FAULT_SECONDS)


_MEMORY = ("set_vm_memory_high_watermark", "0.00001"), ("set_vm_memory_high_watermark", "0.4")
_DISK = ("set_disk_free_limit", "mem_relative", "1000"), ("set_disk_free_limit", "50MB")
FAULTS = (
    Fault("RabbitMQ killed", "rabbitmq", _kill_broker, LEASE_RECOVERY_SECONDS, is_in_short_run=True),
    Fault("RabbitMQ restarted", "rabbitmq", _restart_broker, LEASE_RECOVERY_SECONDS),
    Fault(
        "queues purged",
        "rabbitmq",
        _make_queue_fault("purge_queue"),
        LEASE_RECOVERY_SECONDS,
        is_in_short_run=True,
    ),
    Fault("queues deleted", "rabbitmq", _make_queue_fault("delete_queue"), LEASE_RECOVERY_SECONDS),
    Fault("all connections closed by RabbitMQ", "rabbitmq", _close_connections, LEASE_RECOVERY_SECONDS),
    Fault("memory alarm", "rabbitmq", _make_alarm_fault(*_MEMORY)),
    Fault("disk alarm", "rabbitmq", _make_alarm_fault(*_DISK)),
    Fault("RabbitMQ stands still", "rabbitmq", _freeze_broker),
    Fault(
        "confirms half a second late",
        "rabbitmq",
        make_network_fault("relay", "broker", NetworkConditions(delay_seconds=0.5)),
    ),
)

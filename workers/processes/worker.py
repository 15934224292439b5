"""The module that `dramatiq workers.processes.worker` loads in each worker process: broker and actors."""

from __future__ import annotations

import dramatiq

from delivery.config import read_settings
from delivery.telemetry.logs import configure_logging
from workers.broker.broker import create_rabbitmq_broker
from workers.worker.actors import DeliveryActors
from workers.worker.lifecycle import OwnProcessGroup

settings = read_settings()
configure_logging(settings)
delivery_actors = DeliveryActors(settings)
broker = create_rabbitmq_broker(settings, [OwnProcessGroup(), delivery_actors])
dramatiq.set_broker(broker)
delivery_actors.declare_actors(broker)

"""What `dramatiq workers.worker_process` loads, in each worker process: the broker with its actors."""

from __future__ import annotations

import dramatiq

from delivery.config import read_settings
from delivery.logs import set_up_logs
from workers.actors import Deliveries
from workers.broker import rabbitmq_broker
from workers.lifecycle import OwnGroup

settings = read_settings()
set_up_logs(settings)
deliveries = Deliveries(settings)
broker = rabbitmq_broker(settings, [OwnGroup(), deliveries])
dramatiq.set_broker(broker)
deliveries.declare(broker)

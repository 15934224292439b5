"""How a worker process begins and ends among the other processes of its machine."""

from __future__ import annotations

import ctypes
import os
import signal
from typing import TYPE_CHECKING

from dramatiq.middleware import Middleware

if TYPE_CHECKING:
    from dramatiq import Broker

_PR_SET_PDEATHSIG = 1


class OwnProcessGroup(Middleware):
    """Gives each worker process a group of its own, and ends it when its parent has died.

    A process manager signals the whole group: the worker would hear SIGTERM twice, once from it and once from
    Dramatiq's main process, and take the second for an order to drop what it holds.
    """

    def after_process_boot(self, _broker: Broker) -> None:
        """Leave the group; hear of the parent's death."""
        os.setpgid(0, 0)
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)

"""Puts each worker process into its own process group, and ends it with its parent."""

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
    """Moves each worker process to its own process group, and ends it when its parent dies.

    A process manager signals the whole group: the worker would get SIGTERM twice, from it and from Dramatiq's
    main process, and take the second as an order to drop its work.
    """

    def after_process_boot(self, _broker: Broker) -> None:
        """Leave the group, and ask for SIGTERM when the parent dies."""
        os.setpgid(0, 0)
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)

"""The one thread from which a process uses the broker."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class BrokerThread:
    """Runs calls to the broker one after another, in one thread: its connections belong to threads."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="publish")

    async def run(self, call: Callable[[], T]) -> T:
        """Run a call in the thread, and return or raise what it does."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, call)

    def close(self) -> None:
        """Wait for the call that is running, and end the thread."""
        self._executor.shutdown(wait=True)

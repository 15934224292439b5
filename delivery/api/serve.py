"""Serve the API with uvicorn on uvloop."""

from __future__ import annotations

from typing import TYPE_CHECKING

import uvicorn

from delivery.api.app import create_app
from delivery.bootstrap import web_services

if TYPE_CHECKING:
    from collections.abc import Callable

    from delivery.config import Settings


class _Server(uvicorn.Server):
    """uvicorn, telling when and where it listens."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[str], None] | None) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, *args: object, **kwargs: object) -> None:
        await super().startup(*args, **kwargs)  # type: ignore[arg-type]
        if self.started and self._on_ready is not None:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            self._on_ready(f"http://{host}:{port}")


def serve(settings: Settings, *, on_ready: Callable[[str], None] | None = None) -> None:
    """Serve until SIGTERM or SIGINT; requests under way are answered first."""
    config = uvicorn.Config(
        create_app(web_services(settings)),
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http="httptools",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=20,
        limit_concurrency=4_000,
    )
    _Server(config, on_ready).run()



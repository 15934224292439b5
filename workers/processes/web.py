"""The web process: API and console as one application, served with uvicorn on uvloop."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import uvicorn
import uvloop

from delivery.api.app import MAX_BODY_BYTES, create_app
from delivery.api.http.middleware import BodyLimitMiddleware, RequestIdMiddleware
from delivery.api.http.request_limits import BoundedHeadProtocol
from delivery.bootstrap import Services, build_tracer, expose_metrics, open_ledger
from delivery.console.app import create_console
from delivery.domain.errors import Misconfigured, Unavailable
from delivery.ledger.db import partitions
from delivery.log import get_logger
from workers.garbage_collection import tune_gc

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Receive, Scope, Send

    from delivery.config import Settings

log = get_logger()

_GRACE_SECONDS = 20
_CONSOLE_PATH = "/console"


class WebApp:
    """The application of `web`: the console below /console, the API everywhere else."""

    def __init__(self, api: ASGIApp, console: ASGIApp) -> None:
        self._api = api
        self._console = console

    @classmethod
    def from_services(cls, services: Services) -> WebApp:
        """Build both on the same services. Raises Misconfigured."""
        return cls.from_apps(create_app(services), create_console(services))

    @classmethod
    def from_apps(cls, api: ASGIApp, console: ASGIApp) -> WebApp:
        """Combine two applications; adds limits to the console, since the API has its own."""
        return cls(
            api, RequestIdMiddleware(BodyLimitMiddleware(console, limits={}, default_limit=MAX_BODY_BYTES))
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or a lifespan event."""
        to_console = scope["type"] == "http" and _is_console_path(scope["path"])
        await (self._console if to_console else self._api)(scope, receive, send)


def _is_console_path(path: str) -> bool:
    return path in {"/", _CONSOLE_PATH} or path.startswith(f"{_CONSOLE_PATH}/")


def serve(settings: Settings, *, on_ready: Callable[[str], None] | None = None) -> None:
    """Serve until SIGTERM or SIGINT; running requests are answered first. Raises Misconfigured."""
    for number in (signal.SIGTERM, signal.SIGINT):
        # uvicorn raises the signal again when it has ended, but our caller still has things to stop.
        signal.signal(number, _ignore_signal)
    uvloop.run(_serve(settings, on_ready))


async def _serve(settings: Settings, on_ready: Callable[[str], None] | None) -> None:
    services = Services(settings, open_ledger(settings, "web"), tracer=build_tracer(settings, "web"))
    try:
        config = build_server_config(settings, WebApp.from_services(services))
        await _prepare_ledger(services)
        server = _Server(config, on_ready)
        async with expose_metrics(settings, services.ledger, port=settings.web_metrics_port):
            await server.serve()
    finally:
        await services.close()


async def _prepare_ledger(services: Services) -> None:
    """Create partitions, in case no relay has; raise Misconfigured where row-level security cannot work."""
    try:
        async with services.ledger.transaction() as tx:
            await partitions.ensure_partitions(tx, now=services.clock())
        await services.ledger.check_row_level_security()
    except Unavailable as error:
        log.warning("web.without_ledger", why=str(error))


class _Server(uvicorn.Server):
    """uvicorn that reports when and where it listens."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[str], None] | None) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[Any] | None = None) -> None:
        try:
            await super().startup(sockets=sockets)
        except SystemExit:  # it has logged why, but our caller still has things to stop
            address = f"{self.config.host}:{self.config.port}"
            raise Misconfigured(
                f"Cannot listen on {address} (WAYBILL_HOST, WAYBILL_PORT); is it taken?"
            ) from None
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        tune_gc()
        log.info("web.listening", url=f"http://{host}:{port}")
        if self._on_ready is not None:
            self._on_ready(f"http://{host}:{port}")


def build_server_config(settings: Settings, app: ASGIApp) -> uvicorn.Config:
    """Configure uvicorn: bounded heads, no server header, client addresses from trusted proxies only."""
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=BoundedHeadProtocol,
        log_config=None,
        log_level="error",  # it warns of every request that is not HTTP
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=[str(network) for network in settings.trusted_proxies],
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )


def _ignore_signal(_number: int, _frame: object) -> None:
    """Ignore a signal that uvicorn has handled."""

"""The blocking and the asyncio client; `exchanges` has the logic that they share."""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Final, Self, TypedDict, Unpack

import httpx

from waybill_client.events import Event
from waybill_client.exchanges import (
    ClientDeps,
    NoResponse,
    Retries,
    Wait,
    send_in_batches,
    send_one,
    utc_now,
)
from waybill_client.wire import DEFAULT_BATCH_SIZE, ApiRequest, Response

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import TracebackType

    from waybill_client.events import Accepted
    from waybill_client.exchanges import Steps

_IDEMPOTENCY_KEY: Final = re.compile(r"[!-~]{1,255}")
_BATCH_SUFFIX_LENGTH: Final = 16  # ".", and the number of the batch
_RNG_RANGE: Final = 1 << 32


def _rng() -> float:
    return secrets.randbelow(_RNG_RANGE) / (_RNG_RANGE - 1)


_DEPS: Final = ClientDeps(time.monotonic, utc_now, _rng)


class Options(TypedDict, total=False):
    """Options of both clients.

    `timeout`: seconds for each of connecting, a write and a read; 10. `batch_events`: maximum of events in a
    request of `send_many`; 500. `tenant` (`ten_…`): only with the operator's key.
    """

    timeout: float
    retries: Retries
    batch_events: int
    tenant: str


class _Sender:
    """The state of both clients: address, headers, retries."""

    def __init__(self, url: str, key: str, options: Options) -> None:
        """Validate the options; the first request connects."""
        self._url = url.rstrip("/")
        self._retries = options.get("retries", Retries())
        self._timeout = options.get("timeout", 10.0)
        self._batch_events = options.get("batch_events", DEFAULT_BATCH_SIZE)
        if self._batch_events < 1:
            raise ValueError("batch_events must be at least 1.")
        self._headers = {
            "Authorization": f"Bearer {key}",
            "Content-Type": "application/json",
            "User-Agent": f"waybill-client/{_find_version()}",
        }
        if "tenant" in options:
            self._headers["Waybill-Tenant"] = options["tenant"]

    def _start_one(self, event: Event, key: str | None) -> Steps:
        return send_one(event, _check_key(key), self._retries, _DEPS)

    def _start_many(self, events: Iterable[Event], key: str | None) -> Steps:
        checked = _check_key(key, reserved=_BATCH_SUFFIX_LENGTH)
        return send_in_batches(events, checked, self._batch_events, self._retries, _DEPS)

    def _build_headers(self, request: ApiRequest) -> dict[str, str]:
        return {**self._headers, "Idempotency-Key": request.idempotency_key}


class Client(_Sender):
    """Sends events and blocks until they are accepted. Threads may share one client."""

    def __init__(
        self, url: str, key: str, *, transport: httpx.BaseTransport | None = None, **options: Unpack[Options]
    ) -> None:
        """Make a client; the first request connects. `transport` replaces that of httpx, as for tests."""
        super().__init__(url, key, options)
        self._http = httpx.Client(transport=transport, timeout=self._timeout)

    def send(
        self, type_: str, data: Any, *, channels: Sequence[str] = (), idempotency_key: str | None = None
    ) -> Accepted:
        """Send one event and return once Waybill has committed it.

        `data`: any JSON value, or the exact JSON as bytes; `channels`: as in Event. Retries lost connections
        and temporary errors under one idempotency key, so that there is never a second event. Pass a key of
        your own (1 to 255 visible ASCII characters) to repeat the call itself while Waybill remembers the
        key. Raises Refused, GaveUp and NotUnderstood.
        """
        return self._run(self._start_one(Event(type_, data, channels), idempotency_key))[0]

    def send_many(self, events: Iterable[Event], *, idempotency_key: str | None = None) -> list[Accepted]:
        """Send events in batches; Waybill accepts each batch as a whole or not at all.

        Returns one result per event, in order. Raises the errors of `send`, and Unsendable for an event that
        is not JSON; `accepted` of an error has the results of earlier batches. With a key of your own, the
        same call with the same events continues where it stopped.
        """
        return self._run(self._start_many(events, idempotency_key))

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, steps: Steps) -> list[Accepted]:
        result: Response | NoResponse | None = None
        while True:
            try:
                step = steps.send(result)
            except StopIteration as done:
                return list(done.value)
            result = None
            if isinstance(step, Wait):
                time.sleep(step.duration.total_seconds())
            else:
                result = self._post(step)

    def _post(self, request: ApiRequest) -> Response | NoResponse:
        try:
            response = self._http.post(
                self._url + request.path, content=request.body, headers=self._build_headers(request)
            )
        except httpx.RequestError as error:
            return _to_no_response(error)
        return Response(response.status_code, response.headers, response.content)


class AsyncClient(_Sender):
    """The client for asyncio. Tasks of one event loop may share it."""

    def __init__(
        self,
        url: str,
        key: str,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        **options: Unpack[Options],
    ) -> None:
        """Make a client; the first request connects. `transport` replaces that of httpx, as for tests."""
        super().__init__(url, key, options)
        self._http = httpx.AsyncClient(transport=transport, timeout=self._timeout)

    async def send(
        self, type_: str, data: Any, *, channels: Sequence[str] = (), idempotency_key: str | None = None
    ) -> Accepted:
        """Send one event, as `Client.send` does."""
        return (await self._run(self._start_one(Event(type_, data, channels), idempotency_key)))[0]

    async def send_many(
        self, events: Iterable[Event], *, idempotency_key: str | None = None
    ) -> list[Accepted]:
        """Send events in batches, as `Client.send_many` does."""
        return await self._run(self._start_many(events, idempotency_key))

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _run(self, steps: Steps) -> list[Accepted]:
        result: Response | NoResponse | None = None
        while True:
            try:
                step = steps.send(result)
            except StopIteration as done:
                return list(done.value)
            result = None
            if isinstance(step, Wait):
                await asyncio.sleep(step.duration.total_seconds())
            else:
                result = await self._post(step)

    async def _post(self, request: ApiRequest) -> Response | NoResponse:
        try:
            response = await self._http.post(
                self._url + request.path, content=request.body, headers=self._build_headers(request)
            )
        except httpx.RequestError as error:
            return _to_no_response(error)
        return Response(response.status_code, response.headers, response.content)


def _to_no_response(error: httpx.RequestError) -> NoResponse:
    """The value for an error that a retry may cure; raises the others, which are mistakes in the address."""
    if isinstance(error, httpx.UnsupportedProtocol | httpx.LocalProtocolError):
        raise error
    return NoResponse(error)


def _check_key(key: str | None, *, reserved: int = 0) -> str:
    """Return the caller's idempotency key, or a random one. Raises ValueError."""
    if key is None:
        return secrets.token_hex(16)
    if _IDEMPOTENCY_KEY.fullmatch(key) is None or len(key) > 255 - reserved:
        raise ValueError(f"An idempotency key is 1 to {255 - reserved} visible ASCII characters.")
    return key


def _find_version() -> str:
    try:
        return version("waybill-client")
    except PackageNotFoundError:  # on the path without being installed
        return "0"

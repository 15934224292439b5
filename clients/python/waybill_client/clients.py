"""The two clients: one blocks, one awaits. What is sent when is decided in `exchanges`."""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Final, Self, TypedDict, Unpack

import httpx

from delivery.client.exchanges import (
    ClientDeps,
    NoResponse,
    Retries,
    Wait,
    send_in_batches,
    send_one,
    utc_now,
)
from delivery.client.wire import DEFAULT_BATCH_SIZE, Accepted, ApiRequest, Event, Response

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import TracebackType

    from delivery.client.exchanges import Steps

_IDEMPOTENCY_KEY: Final = re.compile(r"[!-~]{1,255}")
_BATCH_SUFFIX_LENGTH: Final = 16  # of a batch, behind the key of them all
_RNG_RANGE: Final = 1 << 32


def _rng() -> float:
    return secrets.randbelow(_RNG_RANGE) / (_RNG_RANGE - 1)


_DEPS: Final = ClientDeps(time.monotonic, utc_now, _rng)


class Options(TypedDict, total=False):
    """How a client sends.

    `timeout` is in seconds, for each of connecting, a write and a read: 10. `batch_events` is the most in one
    request of `send_many`: 500. `tenant` (`ten_…`) is needed with the operator's key alone.
    """

    timeout: float
    retries: Retries
    batch_events: int
    tenant: str


class _Sender:
    """What both clients know: to whom, with which key, how often."""

    def __init__(self, url: str, key: str, options: Options) -> None:
        """Nothing is dialled yet."""
        self._url = url.rstrip("/")
        self._retries = options.get("retries", Retries())
        self._timeout = options.get("timeout", 10.0)
        self._batch_events = options.get("batch_events", DEFAULT_BATCH_SIZE)
        if self._batch_events < 1:
            raise ValueError("A batch has one event at least.")
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


class Client(_Sender):
    """Sends events and waits for the answers. Threads may share one."""

    def __init__(
        self, url: str, key: str, *, transport: httpx.BaseTransport | None = None, **options: Unpack[Options]
    ) -> None:
        """Nothing is dialled yet. `transport` takes the place of httpx's own, for tests or proxies."""
        super().__init__(url, key, options)
        self._http = httpx.Client(transport=transport, timeout=self._timeout)

    def send(
        self, type_: str, data: Any, *, channels: Sequence[str] = (), idempotency_key: str | None = None
    ) -> Accepted:
        """Send one event; return when Waybill has committed it.

        `data` is anything that JSON can say, or the exact JSON as bytes; `channels` are those of Event. Tries
        again after lost connections and passing errors, under one idempotency key: there is never a second
        event. Give a key of your own (1 to 255 visible ASCII characters) to be able to repeat the call
        itself, within the hours that Waybill remembers keys. Raises Refused, GaveUp and NotUnderstood.
        """
        return self._run(self._start_one(Event(type_, data, channels), idempotency_key))[0]

    def send_many(self, events: Iterable[Event], *, idempotency_key: str | None = None) -> list[Accepted]:
        """Send events in as many requests as it takes; each of those is accepted as a whole or not at all.

        Answers are in the order of the events. The errors are those of `send`, and Unsendable, which names an
        event that JSON cannot say; `accepted` of an error tells what earlier requests came to. With a key of
        your own, the same call with the same events goes on where it stopped.
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
        came: Response | NoResponse | None = None
        while True:
            try:
                step = steps.send(came)
            except StopIteration as done:
                return list(done.value)
            came = None
            if isinstance(step, Wait):
                time.sleep(step.duration.total_seconds())
            else:
                came = self._post(step)

    def _post(self, ask: ApiRequest) -> Response | NoResponse:
        try:
            answer = self._http.post(
                self._url + ask.path, content=ask.body, headers=_build_headers(self, ask)
            )
        except httpx.RequestError as error:
            return _to_no_response(error)
        return Response(answer.status_code, answer.headers, answer.content)


class AsyncClient(_Sender):
    """The same for asyncio. Tasks of one loop may share one."""

    def __init__(
        self,
        url: str,
        key: str,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        **options: Unpack[Options],
    ) -> None:
        """Nothing is dialled yet. `transport` takes the place of httpx's own, for tests or proxies."""
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
        """Send events in as many requests as it takes, as `Client.send_many` does."""
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
        came: Response | NoResponse | None = None
        while True:
            try:
                step = steps.send(came)
            except StopIteration as done:
                return list(done.value)
            came = None
            if isinstance(step, Wait):
                await asyncio.sleep(step.duration.total_seconds())
            else:
                came = await self._post(step)

    async def _post(self, ask: ApiRequest) -> Response | NoResponse:
        try:
            answer = await self._http.post(
                self._url + ask.path, content=ask.body, headers=_build_headers(self, ask)
            )
        except httpx.RequestError as error:
            return _to_no_response(error)
        return Response(answer.status_code, answer.headers, answer.content)


def _build_headers(sender: _Sender, ask: ApiRequest) -> dict[str, str]:
    return {**sender._headers, "Idempotency-Key": ask.idempotency_key}  # noqa: SLF001  of this module


def _to_no_response(error: httpx.RequestError) -> NoResponse:
    """What asking again may mend; raises what is wrong on our own side."""
    if isinstance(error, httpx.UnsupportedProtocol | httpx.LocalProtocolError):
        raise error
    return NoResponse(error)


def _check_key(key: str | None, *, reserved: int = 0) -> str:
    """The idempotency key that was given, or one that nobody else has. Raises ValueError."""
    if key is None:
        return secrets.token_hex(16)
    if _IDEMPOTENCY_KEY.fullmatch(key) is None or len(key) > 255 - reserved:
        raise ValueError(f"An idempotency key is 1 to {255 - reserved} visible ASCII characters.")
    return key


def _find_version() -> str:
    try:
        return version("waybill")
    except PackageNotFoundError:  # copied into another project
        return "0"

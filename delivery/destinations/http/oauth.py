"""Tokens of OAuth 2.0 client credentials: asked for once, kept until shortly before they end."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import quote_plus, urlencode

import msgspec

from delivery.credentials import basic
from delivery.transport.posting import post
from retries.outcome import Blocked, Delivered, Fault, Interrupted, ProxyFailed, Unreachable, describe_other

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from delivery.credentials import OAuth2
    from delivery.model import EndpointId
    from delivery.transport import Limits, Transport
    from retries.outcome import Outcome

_MOST_KEPT: Final = 10_000
_UNTOLD_SECONDS: Final = 300.0
_LONGEST_SECONDS: Final = 86_400.0
# Given up this much earlier, at most: a token must outlast the request that carries it.
_SHARE_LEFT: Final = 0.1
_MOST_LEFT: Final = 60.0
_FORM: Final = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}
_LONGEST_TOKEN: Final = 8_192


class _Answer(msgspec.Struct):
    """What a token server answers (RFC 6749, section 5.1), as far as we need it."""

    access_token: str
    token_type: str = "bearer"  # noqa: S105  a word of the specification
    expires_in: float | str | None = None


@dataclass(frozen=True, slots=True)
class Token:
    """A token, and until which reading of the loop's clock it is used. `fresh`: asked for just now."""

    text: str
    until: float
    fresh: bool = False


class Tokens:
    """The tokens of one worker process, by endpoint and version: a changed endpoint asks anew."""

    def __init__(self, transport: Transport, clock: Callable[[], datetime]) -> None:
        """Nothing is kept at first."""
        self._transport = transport
        self._clock = clock
        self._kept: dict[tuple[EndpointId, int], Token] = {}
        self._asked: dict[tuple[EndpointId, int], asyncio.Task[Token | Outcome]] = {}

    async def of(self, whose: tuple[EndpointId, int], credentials: OAuth2, limits: Limits) -> Token | Outcome:
        """A token for an endpoint, or what kept us from one. All who ask at once share one question."""
        kept = self._kept.get(whose)
        if kept is not None and kept.until > asyncio.get_running_loop().time():
            return kept
        asked = self._asked.get(whose)
        if asked is None:
            asked = self._asked[whose] = asyncio.create_task(self._ask(whose, credentials, limits))
            asked.add_done_callback(lambda _: self._asked.pop(whose, None))
        try:
            # Shielded: when one of those who wait gives up, the question goes on for the others.
            async with asyncio.timeout(limits.total.total_seconds()):
                return await asyncio.shield(asked)
        except TimeoutError:
            return Unreachable(Fault.TOKEN, "the time was up")

    def forget(self, whose: tuple[EndpointId, int], token: Token) -> None:
        """Let go of a token that was refused, unless another has taken its place already."""
        kept = self._kept.get(whose)
        if kept is not None and kept.text == token.text:
            del self._kept[whose]

    async def _ask(
        self, whose: tuple[EndpointId, int], credentials: OAuth2, limits: Limits
    ) -> Token | Outcome:
        form = {"grant_type": "client_credentials"}
        if credentials.scope is not None:
            form["scope"] = credentials.scope
        # Encoded before they are joined (RFC 6749, section 2.3.1).
        who = basic(quote_plus(credentials.client_id), quote_plus(credentials.client_secret))
        headers, body = {**_FORM, "authorization": who}, urlencode(form).encode()
        exchange = await post(
            self._transport, credentials.token_url, headers, body, limits, now=self._clock()
        )
        match exchange.outcome:
            case Delivered():
                found = read_answer(exchange.body, asyncio.get_running_loop().time())
            case Blocked() | Interrupted() | ProxyFailed():
                return exchange.outcome
            case other:
                return Unreachable(Fault.TOKEN, describe_other("token server", other))
        if isinstance(found, Token):
            if len(self._kept) >= _MOST_KEPT:
                self._kept.clear()
            self._kept[whose] = Token(found.text, found.until)
        return found


def read_answer(body: bytes, now: float) -> Token | Outcome:
    """Read a token server's answer; what it says is not repeated, for it may hold a token."""
    try:
        answer = msgspec.json.decode(body, type=_Answer)
        told = _seconds(answer.expires_in)
    except (msgspec.MsgspecError, UnicodeError, ValueError):
        return Unreachable(Fault.TOKEN, "its answer is not a token as RFC 6749 has it")
    if answer.token_type.lower() != "bearer":
        return Unreachable(Fault.TOKEN, "its token is not a bearer token")
    text = answer.access_token
    if not (0 < len(text) <= _LONGEST_TOKEN and text.isascii() and text.isprintable() and " " not in text):
        return Unreachable(Fault.TOKEN, "its token cannot be sent in a header")
    lasts = min(told, _LONGEST_SECONDS) if told > 0 else 0.0
    return Token(text, now + lasts - min(_MOST_LEFT, lasts * _SHARE_LEFT), fresh=True)


def _seconds(told: float | str | None) -> float:
    """How long a token lasts: some servers tell it in a string, some not at all. Raises ValueError."""
    seconds = _UNTOLD_SECONDS if told is None else float(told)
    if math.isnan(seconds):
        raise ValueError("not a number")
    return seconds

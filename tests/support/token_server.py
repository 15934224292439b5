"""A token server of the tests: it gives out numbered tokens, and remembers how it was asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.receivers import make_response

if TYPE_CHECKING:
    from tests.support.receivers import Conversation, ReceivedRequest


class TokenServer:
    """Answers `token-1`, `token-2`, … with this lifetime; `instead` is answered once before."""

    def __init__(self, *, expires_in: float | None = 3_600, canned_response: bytes | None = None) -> None:
        self.requests: list[ReceivedRequest] = []
        self._expires_in = expires_in
        self._instead = canned_response

    async def __call__(self, conversation: Conversation) -> None:
        while True:
            self.requests.append(await conversation.read_request())
            if self._instead is not None:
                said, self._instead = self._instead, None
                await conversation.write_bytes(said)
                continue
            lasts = "" if self._expires_in is None else f', "expires_in": {self._expires_in}'
            token = f'{{"access_token": "token-{len(self.requests)}", "token_type": "Bearer"{lasts}}}'
            await conversation.write_bytes(make_response(body=token.encode()))


class BearerReceiver:
    """A receiver that takes these bearer tokens and no others: to those it says 401."""

    def __init__(self, *taken: str) -> None:
        self.accept_tokens(*taken)

    def accept_tokens(self, *tokens: str) -> None:
        """Take these from now on, and no others."""
        self._taken = {f"Bearer {token}" for token in tokens}

    async def __call__(self, conversation: Conversation) -> None:
        while True:
            asked = await conversation.read_request()
            known = asked.headers.get("authorization") in self._taken
            await conversation.write_bytes(make_response("200 OK" if known else "401 Unauthorized"))

"""A token server of the tests: it gives out numbered tokens, and remembers how it was asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.receivers import answer

if TYPE_CHECKING:
    from tests.support.receivers import Conversation, Received


class TokenServer:
    """Answers `token-1`, `token-2`, … for so many seconds each; `instead` is said once before."""

    def __init__(self, *, expires_in: float | None = 3_600, instead: bytes | None = None) -> None:
        self.asked: list[Received] = []
        self._expires_in = expires_in
        self._instead = instead

    async def __call__(self, conversation: Conversation) -> None:
        while True:
            self.asked.append(await conversation.hear())
            if self._instead is not None:
                said, self._instead = self._instead, None
                await conversation.say(said)
                continue
            lasts = "" if self._expires_in is None else f', "expires_in": {self._expires_in}'
            token = f'{{"access_token": "token-{len(self.asked)}", "token_type": "Bearer"{lasts}}}'
            await conversation.say(answer(body=token.encode()))


class Guarded:
    """A receiver that takes these bearer tokens and no others: to those it says 401."""

    def __init__(self, *taken: str) -> None:
        self.take(*taken)

    def take(self, *tokens: str) -> None:
        """Take these from now on, and no others."""
        self._taken = {f"Bearer {token}" for token in tokens}

    async def __call__(self, conversation: Conversation) -> None:
        while True:
            asked = await conversation.hear()
            known = asked.headers.get("authorization") in self._taken
            await conversation.say(answer("200 OK" if known else "401 Unauthorized"))

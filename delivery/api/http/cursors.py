"""Cursors: signed positions at which a list continues."""

from __future__ import annotations

import base64
import hmac
import re
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING
from uuid import UUID

from delivery.domain.errors import Invalid
from delivery.domain.pagination import PageRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

_ID_BYTES = 16
_SIGNATURE_BYTES = 14  # 30 bytes in all: 40 letters of base64 with no bit left over
_CURSOR_PATTERN = re.compile(r"[A-Za-z0-9_-]{40}")


@dataclass(frozen=True, slots=True, repr=False)
class Cursors:
    """Writes and reads cursors. Each holds for one list only: same path, same tenant, same filters."""

    _keys: tuple[bytes, ...]

    @classmethod
    def from_keys(cls, secret_keys: str) -> Cursors:
        """Derive from WAYBILL_SECRET_KEYS, comma separated, newest first: the first signs, all verify."""
        parts = [part.strip().encode() for part in secret_keys.split(",")]
        return cls(tuple(hmac.digest(part, b"waybill cursors", "sha256") for part in parts))

    def write_cursor(self, after: UUID, scope: Sequence[object]) -> str:
        """A cursor that continues after this id."""
        return base64.urlsafe_b64encode(
            after.bytes + _sign_position(self._keys[0], after.bytes, scope)
        ).decode()

    def read_cursor(self, text: str, scope: Sequence[object]) -> UUID:
        """The id to continue after. Raises Invalid for a cursor of another list."""
        if _CURSOR_PATTERN.fullmatch(text) is not None:
            raw = base64.urlsafe_b64decode(text)
            position, mark = raw[:_ID_BYTES], raw[_ID_BYTES:]
            if any(hmac.compare_digest(mark, _sign_position(key, position, scope)) for key in self._keys):
                return UUID(bytes=position)
        raise Invalid("cursor", "was not issued for this list with these filters")


@dataclass(frozen=True, slots=True)
class ListQuery:
    """The page that a request asks for."""

    limit: int
    cursor: str | None
    cursors: Cursors

    def to_page_request(self, *scope: object, oldest_first: bool = False) -> PageRequest:
        """The requested page of the list with this scope. Raises Invalid for a cursor of another list."""
        last = None if self.cursor is None else self.cursors.read_cursor(self.cursor, scope)
        return PageRequest.from_cursor(self.limit, last, oldest_first=oldest_first)

    def encode_next_cursor(self, after: UUID | None, *scope: object) -> str | None:
        """The cursor for the page after this one, if there is one."""
        return None if after is None else self.cursors.write_cursor(after, scope)


def _sign_position(key: bytes, position: bytes, scope: Sequence[object]) -> bytes:
    # `repr` separates the parts: ("a", "bc") and ("ab", "c") are different lists.
    text = repr([str(part) for part in scope]).encode()
    return hmac.digest(key, position + sha256(text).digest(), "sha256")[:_SIGNATURE_BYTES]

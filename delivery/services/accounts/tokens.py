"""Tokens: random text that is told once and kept as a hash; and what a form carries to show whose it is."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

SESSION = "wbs_"
LINK = "wbl_"
_BYTES = 32
_TOKEN = re.compile(r"wb[sl]_[A-Za-z0-9_-]{43}")


def new_token(prefix: str, random_bytes: Callable[[int], bytes]) -> str:
    """A token that nobody can guess."""
    return prefix + base64.urlsafe_b64encode(random_bytes(_BYTES)).decode().rstrip("=")


def is_token(text: str, prefix: str) -> bool:
    """Whether this can be a token at all; anything else need not be looked for."""
    return text.startswith(prefix) and _TOKEN.fullmatch(text) is not None


def sha256_of(token: str) -> bytes:
    """As which the ledger keeps a token."""
    return hashlib.sha256(token.encode()).digest()


def csrf(token: str) -> str:
    """What a form of this session carries: it follows from the token, and the token not from it."""
    return hmac.new(token.encode(), b"waybill console form", hashlib.sha256).hexdigest()


def csrf_matches(token: str, given: str) -> bool:
    """Whether a form was made for this session; takes the same time whatever was given."""
    return hmac.compare_digest(csrf(token).encode(), given.encode(errors="surrogatepass"))

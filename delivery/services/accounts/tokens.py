"""Tokens: random text that is told once and kept as a hash; and what a form carries to show whose it is."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

SESSION_PREFIX = "wbs_"
LINK_PREFIX = "wbl_"
_TOKEN_BYTES = 32
_TOKEN_PATTERN = re.compile(r"wb[sl]_[A-Za-z0-9_-]{43}")


def generate_token(prefix: str, random_bytes: Callable[[int], bytes]) -> str:
    """A token that nobody can guess."""
    return prefix + base64.urlsafe_b64encode(random_bytes(_TOKEN_BYTES)).decode().rstrip("=")


def is_well_formed_token(text: str, prefix: str) -> bool:
    """Whether this can be a token at all; anything else need not be looked for."""
    return text.startswith(prefix) and _TOKEN_PATTERN.fullmatch(text) is not None


def hash_token(token: str) -> bytes:
    """As which the ledger keeps a token."""
    return hashlib.sha256(token.encode()).digest()


def derive_csrf_token(token: str) -> str:
    """What a form of this session carries: it follows from the token, and the token not from it."""
    return hmac.new(token.encode(), b"waybill console form", hashlib.sha256).hexdigest()


def is_csrf_token_valid(token: str, submitted: str) -> bool:
    """Whether a form was made for this session; takes the same time whatever was given."""
    return hmac.compare_digest(derive_csrf_token(token).encode(), submitted.encode(errors="surrogatepass"))

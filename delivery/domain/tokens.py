"""Bearer tokens (API keys, sessions, portal links): shown once, stored as a hash. And CSRF tokens. Pure."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

API_KEY_PREFIX: Final = "wbk_"
SESSION_PREFIX: Final = "wbs_"
LINK_PREFIX: Final = "wbl_"
_TOKEN_BYTES: Final = 32
_TOKEN_PATTERN: Final = re.compile(r"wb[ksl]_[A-Za-z0-9_-]{43}")


def generate_token(prefix: str, random_bytes: Callable[[int], bytes]) -> str:
    """Make a token of 256 random bits: the prefix and 43 characters of base64url."""
    return prefix + base64.urlsafe_b64encode(random_bytes(_TOKEN_BYTES)).decode().rstrip("=")


def is_well_formed_token(text: str, prefix: str) -> bool:
    """Whether the text has the form of a token; any other text needs no lookup."""
    return text.startswith(prefix) and _TOKEN_PATTERN.fullmatch(text) is not None


def hash_token(token: str | bytes) -> bytes:
    """The SHA-256 under which the ledger stores a token."""
    return hashlib.sha256(token.encode() if isinstance(token, str) else token).digest()


def derive_csrf_token(session_token: str) -> str:
    """The token in the forms of a session. It does not reveal the session token."""
    return hmac.new(session_token.encode(), b"waybill console form", hashlib.sha256).hexdigest()


def is_csrf_token_valid(session_token: str, submitted: str) -> bool:
    """Whether a form belongs to this session, compared in constant time."""
    expected = derive_csrf_token(session_token).encode()
    return hmac.compare_digest(expected, submitted.encode(errors="surrogatepass"))

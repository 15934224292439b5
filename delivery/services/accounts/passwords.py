"""Passwords: the rules for new ones, and their hashes (argon2id, RFC 9106)."""

from __future__ import annotations

import asyncio
import base64
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from delivery.domain.errors import Unavailable
from delivery.domain.validation import check_text, validating_field

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

MIN_LENGTH: Final = 12
MAX_LENGTH: Final = 200
# A hash takes 64 MiB and a whole core while it is computed.
MAX_CONCURRENT_HASHES: Final = 2
MAX_WAITING: Final = 64
_GENERATED_BYTES: Final = 18  # 24 characters of base64 without padding


@dataclass(frozen=True, slots=True)
class PasswordCheck:
    """Whether a password is right. `new_hash` replaces a stored hash that has outdated parameters."""

    is_correct: bool
    new_hash: str | None = None


def check_password(password: str, *, email: str, field_name: str = "password") -> str:
    """Return a new password if it is acceptable; raises Invalid for this field."""
    with validating_field(field_name):
        check_text(password, min_length=MIN_LENGTH, max_length=MAX_LENGTH)
        if _normalize(password).casefold() == email.casefold():
            raise ValueError("must not be the e-mail address")
    return password


def generate_password(random_bytes: Callable[[int], bytes]) -> str:
    """Make a random password of 144 bits."""
    return base64.urlsafe_b64encode(random_bytes(_GENERATED_BYTES)).decode()


class PasswordService:
    """Computes and verifies hashes in two threads of its own, which bounds memory and CPU time."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        """`hasher` None: with the parameters that argon2-cffi recommends."""
        self._hasher = hasher or PasswordHasher()
        self._threads = ThreadPoolExecutor(MAX_CONCURRENT_HASHES, thread_name_prefix="password")
        self._waiting = 0

    async def hash(self, password: str) -> str:
        """Hash a password for storage. Raises Unavailable when too many requests wait."""
        return await self._run(lambda: self._hasher.hash(_encode(password)))

    async def check(self, stored_hash: str | None, password: str) -> PasswordCheck:
        """Verify a password. Raises Unavailable when too many requests wait.

        `stored_hash` None stands for an account that does not exist or has no password: no password is
        right, and the answer takes as long.
        """
        return await self._run(lambda: self._check(stored_hash, password))

    def _check(self, stored_hash: str | None, password: str) -> PasswordCheck:
        encoded = _encode(password[: MAX_LENGTH + 1])
        if stored_hash is None:
            self._hasher.hash(encoded)
            return PasswordCheck(is_correct=False)
        if not self._verify(stored_hash, encoded):
            return PasswordCheck(is_correct=False)
        outdated = self._hasher.check_needs_rehash(stored_hash)
        return PasswordCheck(is_correct=True, new_hash=self._hasher.hash(encoded) if outdated else None)

    def _verify(self, stored_hash: str, password: bytes) -> bool:
        try:
            return self._hasher.verify(stored_hash, password)
        except (VerificationError, InvalidHashError):
            return False

    async def _run(self, work: Callable[[], T]) -> T:
        if self._waiting >= MAX_WAITING:
            raise Unavailable("Too many passwords wait to be checked.")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._waiting -= 1


def _normalize(password: str) -> str:
    """One form for a password, whichever keyboard typed it (NIST SP 800-63B, 3.1.1.2)."""
    return unicodedata.normalize("NFKC", password)


def _encode(password: str) -> bytes:
    return _normalize(password).encode(errors="surrogatepass")

"""Passwords: which are taken, and what is kept of them (argon2id, RFC 9106)."""

from __future__ import annotations

import asyncio
import base64
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from delivery.checks import check_text, field
from delivery.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

SHORTEST: Final = 12
LONGEST: Final = 200
# Each takes 64 MiB while it runs, and a processor.
AT_ONCE: Final = 2
MOST_WAITING: Final = 64
_GENERATED_BYTES: Final = 18  # 24 letters, without a pad


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a password is right. `renewed`: its hash as it is made today, where it is not kept so."""

    right: bool
    renewed: str | None = None


def check_password(password: str, *, email: str, name: str = "password") -> str:
    """Give a new password back if it can be one; raises Invalid, which names this field."""
    with field(name):
        check_text(password, least=SHORTEST, most=LONGEST)
        if _plain(password).casefold() == email.casefold():
            raise ValueError("must not be the e-mail address")
    return password


def generated(random_bytes: Callable[[int], bytes]) -> str:
    """A password that nobody chose."""
    return base64.urlsafe_b64encode(random_bytes(_GENERATED_BYTES)).decode()


class Passwords:
    """Makes and checks hashes in threads of its own: two at a time, so that memory and others have room."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        """Nothing runs yet. `hasher` None: with the terms that its library recommends."""
        self._hasher = hasher or PasswordHasher()
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="password")
        self._waiting = 0

    async def hash(self, password: str) -> str:
        """What is kept of a password. Raises Unavailable when too many wait."""
        return await self._run(lambda: self._hasher.hash(_bytes(password)))

    async def check(self, kept: str | None, password: str) -> Verdict:
        """Whether this is the password whose hash is kept. Raises Unavailable when too many wait.

        None is kept of an account that does not exist or has no password: any is wrong, and takes as long.
        """
        return await self._run(lambda: self._check(kept, password))

    def _check(self, kept: str | None, password: str) -> Verdict:
        given = _bytes(password[: LONGEST + 1])
        if kept is None:
            self._hasher.hash(given)
            return Verdict(right=False)
        if not self._verify(kept, given):
            return Verdict(right=False)
        old = self._hasher.check_needs_rehash(kept)
        return Verdict(right=True, renewed=self._hasher.hash(given) if old else None)

    def _verify(self, kept: str, given: bytes) -> bool:
        try:
            return self._hasher.verify(kept, given)
        except (VerificationError, InvalidHashError):
            return False

    async def _run(self, work: Callable[[], T]) -> T:
        if self._waiting >= MOST_WAITING:
            raise Unavailable("Too many passwords wait to be checked.")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._waiting -= 1


def _plain(password: str) -> str:
    """One form for one password, whichever keyboard wrote it (NIST SP 800-63B, 3.1.1.2)."""
    return unicodedata.normalize("NFKC", password)


def _bytes(password: str) -> bytes:
    return _plain(password).encode(errors="surrogatepass")

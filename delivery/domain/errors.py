"""The error tree. Errors carry facts; API, CLI and console turn them into answers.

WaybillError
├── Refusal                 the request cannot be served (answered by 4xx)
│   ├── Invalid             a field is wrong: names the field and says why
│   ├── MalformedId         not an id of the expected kind
│   ├── NotFound            there is no such thing for this caller
│   ├── NotAuthenticated    no key, or none that is known
│   ├── NotAllowed          the caller may not do this
│   │   └── ScopeMissing    the key lacks scopes: names them
│   ├── Conflict            the current state forbids it
│   ├── TooLarge            more bytes or items than the limit
│   ├── TooManyTries        too many failed tries: how long to wait
│   └── TooManyRequests     the key's rate limit is reached: how long to wait
├── Misconfigured           a setting is missing or wrong: the process does not start
├── Unavailable             a dependency does not answer (answered by 503)
└── SecretUnreadable        no configured encryption key opens this secret
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from delivery.domain.durations import format_duration

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from delivery.domain.scopes import Scope


class WaybillError(Exception):
    """Base of all errors of this engine."""


class Refusal(WaybillError):
    """The request cannot be served."""


class Invalid(Refusal):
    """A field is wrong. `field` is a dotted path into the request, such as `events.3.type`."""

    def __init__(self, field: str, why: str) -> None:
        """`why` continues a sentence that begins with the field."""
        self.field = field
        self.why = why
        super().__init__(f"{field}: {why}")


class MalformedId(Refusal):
    """The text is not an id of the expected kind."""

    def __init__(self, text: str, expected_prefix: str) -> None:
        """Keep the text, truncated, and the expected prefix."""
        self.text = text[:64]
        self.prefix = expected_prefix
        super().__init__(f"{self.text!r} is not an id of the form {expected_prefix}_…")


class NotFound(Refusal):
    """No such object exists for this caller; another tenant may have one with this id."""

    def __init__(self, noun: str, public_id: str) -> None:
        """Keep the kind of object and the requested id."""
        self.noun = noun
        self.public_id = public_id[:64]
        super().__init__(f"There is no {noun} {self.public_id}.")


class NotAuthenticated(Refusal):
    """No key, or an unknown key, was sent; callers cannot distinguish the two."""


class NotAllowed(Refusal):
    """The caller is authenticated and may not do this."""


class ScopeMissing(NotAllowed):
    """The key lacks scopes; `needed` are all the scopes that the request needs."""

    def __init__(self, needed: Sequence[Scope], missing: Sequence[Scope]) -> None:
        """Name the needed scopes, and those that this key lacks."""
        self.needed = tuple(needed)
        named = " and ".join(f"`{scope}`" for scope in missing)
        what = "scope" if len(missing) == 1 else "scopes"
        super().__init__(f"This needs a key with the {what} {named}, which this one does not have.")


class Conflict(Refusal):
    """The current state forbids the request; the message says what to do."""


class TooLarge(Refusal):
    """More bytes or items than the limit."""

    def __init__(self, what: str, *, size: int, limit: int, unit: str = "bytes") -> None:
        """Say what was too large, how large it was and what is allowed."""
        self.what = what
        self.size = size
        self.limit = limit
        super().__init__(f"{what} has {size:,} {unit}; at most {limit:,} are allowed.")


class TooManyTries(Refusal):
    """Too many failed attempts; `retry_after` is how long to wait for the next."""

    def __init__(self, retry_after: timedelta) -> None:
        """Say how long to wait."""
        self.retry_after = retry_after
        super().__init__(f"Too many failed attempts. Try again in {format_duration(retry_after)}.")


class TooManyRequests(Refusal):
    """The key's rate limit is reached; `retry_after` is how long to wait."""

    def __init__(self, limit: int, retry_after: timedelta) -> None:
        """Say what is allowed, and how long to wait."""
        self.limit = limit
        self.retry_after = retry_after
        super().__init__(
            f"This key may make {limit:,} requests per second. Try again in {format_duration(retry_after)}."
        )


class Misconfigured(WaybillError):
    """A setting is missing or wrong: the process does not start."""


class Unavailable(WaybillError):
    """A dependency does not answer now; trying again later may work."""


class SecretUnreadable(WaybillError):
    """No configured encryption key opens this secret."""

    def __init__(self, key_fingerprint: str) -> None:
        """Name the key it was sealed under, by fingerprint."""
        self.key_fingerprint = key_fingerprint
        super().__init__(
            f"No key in WAYBILL_SECRET_KEYS opens this secret; it was sealed under {key_fingerprint}."
        )

"""The error tree. Each error carries facts; doors turn them into answers, nothing else does.

WaybillError
├── Refusal                 the request cannot be served as it stands (the door answers 4xx)
│   ├── Invalid             a field is wrong: names the field and says why
│   ├── MalformedId         not an id of the expected kind
│   ├── NotFound            there is no such thing for this caller
│   ├── NotAuthenticated    no key, or none that is known
│   ├── NotAllowed          the key is known and may not do this
│   │   └── ScopeMissing    it is not for that: names the scopes that it would need
│   ├── Conflict            the state of things forbids it
│   ├── TooLarge            more bytes or items than the limit
│   ├── TooManyTries        somebody guesses: how long to wait
│   └── TooManyRequests     the key asks more often than it may: how long to wait
├── Misconfigured           a setting is missing or wrong: the process does not start
├── Unavailable             a part that we need does not answer (the door answers 503)
└── SecretUnreadable        no encryption key at hand opens this secret
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from delivery.domain.durations import format_duration

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from delivery.domain.scopes import Scope


class WaybillError(Exception):
    """Base of all errors that this engine raises on purpose."""


class Refusal(WaybillError):
    """The request cannot be served as it stands."""


class Invalid(Refusal):
    """A field is wrong. `field` is a dotted path into the request, such as `events.3.type`."""

    def __init__(self, field: str, why: str) -> None:
        """Say which field and why."""
        self.field = field
        self.why = why
        super().__init__(f"{field}: {why}")


class MalformedId(Refusal):
    """The text is not an id of the expected kind."""

    def __init__(self, text: str, expected_prefix: str) -> None:
        """Keep what was given, cut short, and the prefix that was expected."""
        self.text = text[:64]
        self.prefix = expected_prefix
        super().__init__(f"{self.text!r} is not an id of the form {expected_prefix}_…")


class NotFound(Refusal):
    """There is no such thing for this caller, whether or not another tenant has it."""

    def __init__(self, noun: str, public_id: str) -> None:
        """Keep the kind of thing and the id asked for."""
        self.noun = noun
        self.public_id = public_id[:64]
        super().__init__(f"There is no {noun} {self.public_id}.")


class NotAuthenticated(Refusal):
    """No key was sent, or none that is known; which of the two is not told."""


class NotAllowed(Refusal):
    """The key is known and may not do this."""


class ScopeMissing(NotAllowed):
    """The key is not for that; `needed` are the scopes that whoever asks so has to have."""

    def __init__(self, needed: Sequence[Scope], missing: Sequence[Scope]) -> None:
        """Name what is needed, and which of it this key does not have."""
        self.needed = tuple(needed)
        named = " and ".join(f"`{scope}`" for scope in missing)
        what = "scope" if len(missing) == 1 else "scopes"
        super().__init__(f"This needs a key with the {what} {named}, which this one does not have.")


class Conflict(Refusal):
    """The state of things forbids it; the message says how to go on."""


class TooLarge(Refusal):
    """More bytes or items than the limit."""

    def __init__(self, what: str, *, size: int, limit: int, unit: str = "bytes") -> None:
        """Say what was too large, how large it was and what is allowed."""
        self.what = what
        self.size = size
        self.limit = limit
        super().__init__(f"{what} has {size:,} {unit}; at most {limit:,} are taken.")


class TooManyTries(Refusal):
    """Too many tries have failed; `retry_after` is how long to wait for the next."""

    def __init__(self, retry_after: timedelta) -> None:
        """Say how long to wait."""
        self.retry_after = retry_after
        super().__init__(f"Too many tries have failed. Try again in {format_duration(retry_after)}.")


class TooManyRequests(Refusal):
    """The key asks more often than it may; `retry_after` is how long to wait."""

    def __init__(self, limit: int, retry_after: timedelta) -> None:
        """Say what is allowed, and how long to wait."""
        self.limit = limit
        self.retry_after = retry_after
        super().__init__(
            f"This key may ask {limit:,} times a second. Ask again in {format_duration(retry_after)}."
        )


class Misconfigured(WaybillError):
    """A setting is missing or wrong: the process does not start."""


class Unavailable(WaybillError):
    """A part that we need does not answer now; asking again later may work."""


class SecretUnreadable(WaybillError):
    """No encryption key at hand opens this secret."""

    def __init__(self, key_fingerprint: str) -> None:
        """Name the key it was sealed under, by fingerprint."""
        self.key_fingerprint = key_fingerprint
        super().__init__(
            f"No key in WAYBILL_SECRET_KEYS opens this secret; it was sealed under {key_fingerprint}."
        )

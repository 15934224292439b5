"""Identifiers: UUIDv7 in the ledger, TypeIDs for users (`evt_01kawt…`).

Only `new_id` reads the clock and random numbers; the rest is pure.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Final, NewType, TypeVar
from uuid import UUID

from uuid_utils.compat import uuid7

from delivery.domain.errors import MalformedId, NotFound

T = TypeVar("T")

TenantId = NewType("TenantId", UUID)
KeyId = NewType("KeyId", UUID)
EndpointId = NewType("EndpointId", UUID)
SecretId = NewType("SecretId", UUID)
EventId = NewType("EventId", UUID)
DeliveryId = NewType("DeliveryId", UUID)
AttemptId = NewType("AttemptId", UUID)
ClaimId = NewType("ClaimId", UUID)
ReplayId = NewType("ReplayId", UUID)
UserId = NewType("UserId", UUID)
LinkId = NewType("LinkId", UUID)
MessageId = NewType("MessageId", UUID)


class Prefix(StrEnum):
    """The part of a TypeID before the underscore."""

    TENANT = "ten"
    KEY = "key"
    ENDPOINT = "ep"
    SECRET = "sec"  # noqa: S105  a prefix, not a password
    EVENT = "evt"
    DELIVERY = "dlv"
    ATTEMPT = "att"
    REPLAY = "rpl"
    AUDIT = "aud"
    USER = "usr"
    LINK = "lnk"
    MESSAGE = "msg"


def new_id() -> UUID:
    """Make a UUIDv7: unique, and ordered by the time it was made (RFC 9562, section 5.7)."""
    return uuid7()


# TypeIDs: https://github.com/jetify-com/typeid/tree/main/spec
_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS: Final = [a + b for a in _ALPHABET for b in _ALPHABET]
_VALUES: Final = {letter: value for value, letter in enumerate(_ALPHABET)}
_SHIFTS: Final = range(120, -1, -10)
_SUFFIX_LENGTH: Final = 26
_MAX_FIRST_LETTER: Final = "7"  # 26 letters hold 130 bits; a UUID has 128


def format_id(prefix: Prefix, id_: UUID) -> str:
    """Write an id as a TypeID: the prefix and 26 letters of Crockford base32."""
    number = id_.int
    return prefix + "_" + "".join([_PAIRS[(number >> shift) & 1023] for shift in _SHIFTS])


def parse_id(prefix: Prefix, text: str) -> UUID:
    """Parse a TypeID; raises MalformedId for any text that `format_id` would not have written."""
    kind, _, suffix = text.rpartition("_")
    if kind != prefix or len(suffix) != _SUFFIX_LENGTH or suffix[0] > _MAX_FIRST_LETTER:
        raise MalformedId(text, prefix)
    number = 0
    for letter in suffix:
        value = _VALUES.get(letter)
        if value is None:
            raise MalformedId(text, prefix)
        number = number << 5 | value
    return UUID(int=number)


def not_found(prefix: Prefix, id_: UUID) -> NotFound:
    """Build the error for an id that does not exist for this caller."""
    return NotFound(prefix.name.lower(), format_id(prefix, id_))


def require_found(row: T | None, prefix: Prefix, id_: UUID) -> T:
    """Return what was read under this id; raises NotFound for None."""
    if row is None:
        raise not_found(prefix, id_)
    return row


def extract_id_time(id_: UUID) -> datetime:
    """When a UUIDv7 was made, to the millisecond."""
    return datetime.fromtimestamp((id_.int >> 80) / 1000, tz=UTC)


def build_min_id(moment: datetime) -> UUID:
    """The smallest UUIDv7 of this moment; it bounds ranges of ids by time."""
    return UUID(int=int(moment.timestamp() * 1000) << 80)

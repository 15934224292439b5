"""Verifies a webhook on the receiver's side, after Standard Webhooks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from .secrets import (
    PUBLIC_PREFIX,
    Ed25519Secret,
    HmacSecret,
    MalformedSecret,
    PublicKey,
    Secret,
    parse_public_key,
    parse_secret,
)
from .sign import ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER, is_message_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Key = str | Secret | PublicKey

DEFAULT_TOLERANCE: Final = timedelta(minutes=5)
# More signatures than any rotation produces; a forged header must not cost more work than that.
MAX_SIGNATURES: Final = 20
_TIMESTAMP: Final = re.compile(r"[0-9]{1,11}")


class VerificationFailure(StrEnum):
    """Why a webhook was not verified."""

    MISSING_HEADER = "missing_header"
    MALFORMED_HEADER = "malformed_header"
    TOO_OLD = "too_old"
    TOO_NEW = "too_new"
    NO_MATCHING_SIGNATURE = "no_matching_signature"


_SENTENCES: Final = {
    VerificationFailure.MISSING_HEADER: "A webhook-id, webhook-timestamp or webhook-signature is missing.",
    VerificationFailure.MALFORMED_HEADER: "One of the three webhook headers is malformed.",
    VerificationFailure.TOO_OLD: "The timestamp of the webhook is too old.",
    VerificationFailure.TOO_NEW: "The timestamp of the webhook is in the future.",
    VerificationFailure.NO_MATCHING_SIGNATURE: "No signature matches one of the keys.",
}


class VerificationError(Exception):
    """The webhook cannot be trusted; `reason` says which check failed."""

    def __init__(self, reason: VerificationFailure) -> None:
        self.reason = reason
        super().__init__(_SENTENCES[reason])


@dataclass(frozen=True, slots=True)
class Verified:
    """The id and time of a verified webhook. Drop duplicates by `message_id`: a retry has the same."""

    message_id: str
    timestamp: datetime


def verify(
    headers: Mapping[str, str | bytes],
    body: bytes,
    secrets: Key | Iterable[Key],
    *,
    now: datetime,
    tolerance: timedelta = DEFAULT_TOLERANCE,
) -> Verified:
    """Check that one of these keys signed a webhook, and that its timestamp is within `tolerance` of `now`.

    `body` is the bytes as received; `secrets` one or several of `whsec_…` and `whpk_…`. Header names match
    in any case. Raises only VerificationError for a bad request, whatever it holds; MalformedSecret for an
    invalid key or none at all, and ValueError for a `now` without a time zone.
    """
    keys = parse_keys(secrets)
    if now.tzinfo is None:
        raise ValueError("`now` needs a time zone.")
    message_id, seconds, signatures = _parse_headers(headers)
    _check_time(int(seconds), now=now, tolerance=tolerance)
    content = f"{message_id}.{seconds}.".encode() + body
    # Try every key on every signature, so that the time taken does not reveal which one matched.
    matches = [key.accepts(signature, content) for key in keys for signature in signatures]
    if not any(matches):
        raise VerificationError(VerificationFailure.NO_MATCHING_SIGNATURE)
    return Verified(message_id, datetime.fromtimestamp(int(seconds), tz=UTC))


def parse_keys(secrets: Key | Iterable[Key]) -> list[Secret | PublicKey]:
    """Parse one key or several. Raises MalformedSecret for an invalid one, and for none at all."""
    if isinstance(secrets, str | HmacSecret | Ed25519Secret | PublicKey):
        secrets = (secrets,)
    keys = [_parse_key(key) for key in secrets]
    if not keys:
        raise MalformedSecret("A webhook is verified by one key at least.")
    return keys


def _parse_key(key: Key) -> Secret | PublicKey:
    if not isinstance(key, str):
        return key
    return parse_public_key(key) if key.startswith(PUBLIC_PREFIX) else parse_secret(key)


def _parse_headers(headers: Mapping[str, str | bytes]) -> tuple[str, str, list[bytes]]:
    """Read id, timestamp and signatures unparsed: the sender signed the text of the headers."""
    by_name = {name.lower(): value for name, value in headers.items()}
    message_id = _decode_value(by_name.get(ID_HEADER))
    seconds = _decode_value(by_name.get(TIMESTAMP_HEADER))
    signatures = _decode_value(by_name.get(SIGNATURE_HEADER)).encode().split(b" ")
    if (
        not is_message_id(message_id)
        or _TIMESTAMP.fullmatch(seconds) is None
        or len(signatures) > MAX_SIGNATURES
    ):
        raise VerificationError(VerificationFailure.MALFORMED_HEADER)
    return message_id, seconds, signatures


def _decode_value(value: str | bytes | None) -> str:
    if not value:
        raise VerificationError(VerificationFailure.MISSING_HEADER)
    if not value.isascii():
        raise VerificationError(VerificationFailure.MALFORMED_HEADER)
    return value.decode() if isinstance(value, bytes) else value


def _check_time(seconds: int, *, now: datetime, tolerance: timedelta) -> None:
    age = timedelta(seconds=now.timestamp() - seconds)
    if age > tolerance:
        raise VerificationError(VerificationFailure.TOO_OLD)
    if -age > tolerance:
        raise VerificationError(VerificationFailure.TOO_NEW)

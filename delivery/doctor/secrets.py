"""Check the encryption keys, and the API keys and certificates that expire soon."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from delivery.doctor.findings import EXPIRY_WARNING_PERIOD, fail, ok, warn
from delivery.domain.durations import format_duration
from delivery.domain.errors import SecretUnreadable
from delivery.domain.ids import Prefix, format_id
from delivery.ledger.records import api_keys, encrypted_values, endpoints
from delivery.services.key_rotation import NIL_ID, SEALED_COLUMNS, KeyRotationService

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from delivery.doctor.findings import Finding
    from delivery.domain.secret_box import SecretBox
    from delivery.ledger.db.session import Ledger
    from delivery.ledger.records.api_keys import ExpiringKey
    from delivery.ledger.records.endpoints import ExpiringCertificate
    from delivery.services.key_rotation import KeyRotationReport

# So many values of each kind are opened; values under a missing key are counted in full.
SAMPLE_SIZE: Final = 200
_MAX_NAMED: Final = 5


async def check_secrets(ledger: Ledger, box: SecretBox, *, now: datetime) -> list[Finding]:
    """Check the encryption keys, the API keys and the client certificates."""
    report = await KeyRotationService(ledger, box, clock=lambda: now).read_report()
    async with ledger.transaction() as tx:
        expiring_keys = await api_keys.find_expiring(
            tx, after=now, before=now + EXPIRY_WARNING_PERIOD, limit=_MAX_NAMED + 1
        )
        certificates = await endpoints.find_expiring_certificates(
            tx, before=now + EXPIRY_WARNING_PERIOD, limit=_MAX_NAMED + 1
        )
    return [
        check_encryption_keys(report, damaged=await _count_damaged(ledger, box)),
        check_expiring_keys(expiring_keys, now=now),
        check_client_certificates(certificates, now=now),
    ]


def check_encryption_keys(report: KeyRotationReport, *, damaged: int) -> Finding:
    """Check that the keys open every secret; `damaged`: how many of a sample did not open."""
    missing = [usage for usage in report.key_usage if not usage.is_available]
    if missing:
        count = sum(usage.value_count for usage in missing)
        ids = ", ".join(usage.key_id for usage in missing)
        return fail(
            "secrets",
            f"{count:,} encrypted values need keys that are not in WAYBILL_SECRET_KEYS ({ids}): "
            "deliveries to their endpoints wait.",
            "Append the missing key with a comma, and restart every process.",
        )
    if damaged:
        return fail(
            "secrets",
            f"{damaged:,} encrypted values do not open with their key: they were changed or moved.",
            "Rotate the secret of those endpoints; workers log them as `endpoint.unreadable`.",
        )
    values = sum(usage.value_count for usage in report.key_usage)
    if report.remaining:
        return warn(
            "secrets",
            f"The keys open all {values:,} encrypted values, but {report.remaining:,} need an older key.",
            "Run `waybill secrets rotate-key`; then remove the older key.",
        )
    return ok("secrets", f"The newest key opens all {values:,} encrypted values.")


def check_expiring_keys(expiring: Sequence[ExpiringKey], *, now: datetime) -> Finding:
    """Check that no API key expires soon without a successor."""
    if not expiring:
        return ok(
            "API keys",
            f"No API key without a successor expires within {EXPIRY_WARNING_PERIOD.days} days.",
        )
    named = [
        f"{format_id(Prefix.KEY, one.id)} in {format_duration(one.expires_at - now)}"
        for one in expiring[:_MAX_NAMED]
    ]
    more = " and more" if len(expiring) > _MAX_NAMED else ""
    return warn(
        "API keys",
        f"These API keys expire soon: {', '.join(named)}{more}.",
        "Rotate the ones in use: `waybill key rotate key_… --tenant ten_…`.",
    )


def check_client_certificates(expiring: Sequence[ExpiringCertificate], *, now: datetime) -> Finding:
    """Check that no client certificate has expired or expires soon."""
    if not expiring:
        return ok(
            "client certificates",
            f"No client certificate of an endpoint expires within {EXPIRY_WARNING_PERIOD.days} days.",
        )
    expired = [one for one in expiring if one.expires_at <= now]
    named = [
        f"{format_id(Prefix.ENDPOINT, one.id)} {_describe_expiry(one.expires_at, now=now)}"
        for one in expiring[:_MAX_NAMED]
    ]
    more = " and more" if len(expiring) > _MAX_NAMED else ""
    message = f"Client certificates of endpoints expire: {', '.join(named)}{more}."
    remedy = (
        "Ask their tenants for new ones: `waybill endpoint update ep_… --tenant ten_… --client-cert @FILE`."
    )
    return (fail if expired else warn)("client certificates", message, remedy)


def _describe_expiry(expires_at: datetime, *, now: datetime) -> str:
    return "has expired" if expires_at <= now else f"in {format_duration(expires_at - now)}"


async def _count_damaged(ledger: Ledger, box: SecretBox) -> int:
    count = 0
    for place, context in SEALED_COLUMNS:
        async with ledger.transaction() as tx:
            for one in await encrypted_values.read_after(tx, place, NIL_ID, limit=SAMPLE_SIZE):
                try:
                    box.open(one.sealed, context=context(one.tenant_id, one.endpoint_id))
                except SecretUnreadable:
                    count += 1
    return count

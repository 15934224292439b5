"""Key material: the keys at hand open what is sealed, and no API key ends unseen."""

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

# Of each kind of sealed value so many are opened; what is under a key that is not at hand is counted in full.
SAMPLE_SIZE: Final = 200
_MAX_NAMED: Final = 5


async def check_secrets(ledger: Ledger, box: SecretBox, *, now: datetime) -> list[Finding]:
    """Judge the keys that seal secrets, and the API keys that end soon."""
    report = await KeyRotationService(ledger, box, clock=lambda: now).read_report()
    async with ledger.transaction() as tx:
        ending = await api_keys.find_expiring(
            tx, after=now, before=now + EXPIRY_WARNING_PERIOD, limit=_MAX_NAMED + 1
        )
        certificates = await endpoints.find_expiring_certificates(
            tx, before=now + EXPIRY_WARNING_PERIOD, limit=_MAX_NAMED + 1
        )
    of_box = check_encryption_keys(report, damaged=await _count_damaged(ledger, box))
    return [of_box, check_expiring_keys(ending, now=now), check_client_certificates(certificates, now=now)]


def check_encryption_keys(report: KeyRotationReport, *, damaged: int) -> Finding:
    """Whether every secret at rest opens with the keys at hand; `damaged`: so many of a sample did not."""
    missing = [one for one in report.key_usage if not one.is_available]
    if missing:
        count, ids = sum(one.value_count for one in missing), ", ".join(one.key_id for one in missing)
        return fail(
            "secrets",
            f"{count:,} sealed values need keys that are not in WAYBILL_SECRET_KEYS ({ids}): what goes to "
            "their endpoints waits.",
            "Put the missing key behind the newest, with a comma, and restart every process.",
        )
    if damaged:
        return fail(
            "secrets",
            f"{damaged:,} sealed values do not open though their key is at hand: they were changed or moved.",
            "Rotate the secret of those endpoints; workers log them as `endpoint.unreadable`.",
        )
    values = sum(one.value_count for one in report.key_usage)
    if report.remaining:
        return warn(
            "secrets",
            f"The keys open all {values:,} sealed values, {report.remaining:,} of them only under an older key.",
            "Run `waybill secrets rotate-key`; then the older key may go.",
        )
    return ok("secrets", f"The newest key opens all {values:,} sealed values.")


def check_expiring_keys(ending: Sequence[ExpiringKey], *, now: datetime) -> Finding:
    """Whether an API key ends soon that no other takes the place of."""
    if not ending:
        return ok(
            "API keys",
            f"No API key ends within {EXPIRY_WARNING_PERIOD.days} days with none to take its place.",
        )
    named = [
        f"{format_id(Prefix.KEY, one.id)} in {format_duration(one.expires_at - now)}"
        for one in ending[:_MAX_NAMED]
    ]
    more = " and more" if len(ending) > _MAX_NAMED else ""
    return warn(
        "API keys",
        f"These API keys end soon: {', '.join(named)}{more}.",
        "Rotate those that are in use: `waybill key rotate key_… --tenant ten_…`.",
    )


def check_client_certificates(ending: Sequence[ExpiringCertificate], *, now: datetime) -> Finding:
    """Whether a certificate that we show an endpoint ends soon, or has ended."""
    if not ending:
        return ok(
            "client certificates",
            f"None that is shown to an endpoint ends within {EXPIRY_WARNING_PERIOD.days} days.",
        )
    over = [one for one in ending if one.expires_at <= now]
    named = [
        f"{format_id(Prefix.ENDPOINT, one.id)} {'has ended' if one.expires_at <= now else f'in {format_duration(one.expires_at - now)}'}"
        for one in ending[:_MAX_NAMED]
    ]
    more = " and more" if len(ending) > _MAX_NAMED else ""
    says = f"Certificates that are shown to endpoints end: {', '.join(named)}{more}."
    mend = (
        "Have their tenants give new ones: `waybill endpoint update ep_… --tenant ten_… --client-cert @FILE`."
    )
    return (fail if over else warn)("client certificates", says, mend)


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

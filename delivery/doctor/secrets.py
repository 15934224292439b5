"""Key material: the keys at hand open what is sealed, and no API key ends unseen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from delivery.doctor.findings import SOON, ok, warning, wrong
from delivery.errors import SecretUnreadable
from delivery.ledger import endpoints, keys, sealed
from delivery.model import Prefix, show_id
from delivery.moments import length
from delivery.resealing import FIRST, PLACES, Resealing

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from delivery.doctor.findings import Finding
    from delivery.ledger import Ledger
    from delivery.ledger.endpoints import EndingCertificate
    from delivery.ledger.keys import Ending
    from delivery.resealing import Report
    from delivery.secrets import SecretBox

# Of each kind of sealed value so many are opened; what is under a key that is not at hand is counted in full.
OPENED: Final = 200
_NAMED: Final = 5


async def look_at_secrets(ledger: Ledger, box: SecretBox, *, now: datetime) -> list[Finding]:
    """Judge the keys that seal secrets, and the API keys that end soon."""
    report = await Resealing(ledger, box, clock=lambda: now).look()
    async with ledger.transaction() as tx:
        ending = await keys.ending(tx, after=now, before=now + SOON, most=_NAMED + 1)
        certificates = await endpoints.ending_certificates(tx, before=now + SOON, most=_NAMED + 1)
    of_box = of_keys(report, damaged=await _damaged(ledger, box))
    return [of_box, of_endings(ending, now=now), of_certificates(certificates, now=now)]


def of_keys(report: Report, *, damaged: int) -> Finding:
    """Whether every secret at rest opens with the keys at hand; `damaged`: so many of a sample did not."""
    missing = [one for one in report.under if not one.at_hand]
    if missing:
        count, ids = sum(one.values for one in missing), ", ".join(one.key_id for one in missing)
        return wrong(
            "secrets",
            f"{count:,} sealed values need keys that are not in WAYBILL_SECRET_KEYS ({ids}): what goes to "
            "their endpoints waits.",
            "Put the missing key behind the newest, with a comma, and restart every process.",
        )
    if damaged:
        return wrong(
            "secrets",
            f"{damaged:,} sealed values do not open though their key is at hand: they were changed or moved.",
            "Rotate the secret of those endpoints; workers log them as `endpoint.unreadable`.",
        )
    values = sum(one.values for one in report.under)
    if report.left:
        return warning(
            "secrets",
            f"The keys open all {values:,} sealed values, {report.left:,} of them only under an older key.",
            "Run `waybill secrets rotate-key`; then the older key may go.",
        )
    return ok("secrets", f"The newest key opens all {values:,} sealed values.")


def of_endings(ending: Sequence[Ending], *, now: datetime) -> Finding:
    """Whether an API key ends soon that no other takes the place of."""
    if not ending:
        return ok("API keys", f"No API key ends within {SOON.days} days with none to take its place.")
    named = [f"{show_id(Prefix.KEY, one.id)} in {length(one.at - now)}" for one in ending[:_NAMED]]
    more = " and more" if len(ending) > _NAMED else ""
    return warning(
        "API keys",
        f"These API keys end soon: {', '.join(named)}{more}.",
        "Rotate those that are in use: `waybill key rotate key_… --tenant ten_…`.",
    )


def of_certificates(ending: Sequence[EndingCertificate], *, now: datetime) -> Finding:
    """Whether a certificate that we show an endpoint ends soon, or has ended."""
    if not ending:
        return ok("client certificates", f"None that is shown to an endpoint ends within {SOON.days} days.")
    over = [one for one in ending if one.at <= now]
    named = [
        f"{show_id(Prefix.ENDPOINT, one.id)} {'has ended' if one.at <= now else f'in {length(one.at - now)}'}"
        for one in ending[:_NAMED]
    ]
    more = " and more" if len(ending) > _NAMED else ""
    says = f"Certificates that are shown to endpoints end: {', '.join(named)}{more}."
    mend = (
        "Have their tenants give new ones: `waybill endpoint update ep_… --tenant ten_… --client-cert @FILE`."
    )
    return (wrong if over else warning)("client certificates", says, mend)


async def _damaged(ledger: Ledger, box: SecretBox) -> int:
    count = 0
    for place, context in PLACES:
        async with ledger.transaction() as tx:
            for one in await sealed.after(tx, place, FIRST, most=OPENED):
                try:
                    box.open(one.sealed, context=context(one.tenant_id, one.endpoint_id))
                except SecretUnreadable:
                    count += 1
    return count

"""Whether the ledger can take events now: it answers, it is migrated, and today has its partitions."""

from __future__ import annotations

import asyncio
from datetime import UTC
from typing import TYPE_CHECKING

from sqlalchemy import text

from delivery.errors import Unavailable
from delivery.ledger.session import BEHIND
from delivery.ledger.tables import PARTITIONED

if TYPE_CHECKING:
    from datetime import datetime

    from delivery.ledger.session import Ledger

PATIENCE_SECONDS = 5
_MISSING = text("""
    select name from unnest(cast(:names as text[])) as wanted (name) where to_regclass(name) is null
""")


async def check(ledger: Ledger, *, now: datetime) -> None:
    """Raise Unavailable unless events can be accepted now, Misconfigured if the server cannot serve us."""
    today = now.astimezone(UTC)
    names = [*PARTITIONED, "tenants", "schedule", *(f"{table}_{today:%Y%m%d}" for table in PARTITIONED)]
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await ledger.check()
            async with ledger.transaction() as tx:
                missing = (await tx.execute(_MISSING, {"names": names})).scalars().all()
            if not missing:
                await ledger.check_walls()
    except TimeoutError:
        raise Unavailable(f"The ledger did not answer within {PATIENCE_SECONDS} seconds.") from None
    if missing:
        raise Unavailable(f"{BEHIND} (There is no table {missing[0]}.)")

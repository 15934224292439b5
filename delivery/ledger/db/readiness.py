"""Whether the ledger can accept events: it answers, is migrated, and today has its partitions."""

from __future__ import annotations

import asyncio
from datetime import UTC
from typing import TYPE_CHECKING

from sqlalchemy import text

from delivery.domain.errors import Unavailable
from delivery.ledger.db.session import NOT_MIGRATED_MESSAGE
from delivery.ledger.db.tables import PARTITIONED_TABLES

if TYPE_CHECKING:
    from datetime import datetime

    from delivery.ledger.db.session import Ledger

CHECK_TIMEOUT_SECONDS = 5
_MISSING_TABLES = text("""
    select name from unnest(cast(:names as text[])) as wanted (name) where to_regclass(name) is null
""")


async def check_readiness(ledger: Ledger, *, now: datetime) -> None:
    """Raise Unavailable unless events can be accepted now, Misconfigured if the server cannot serve us."""
    today = now.astimezone(UTC)
    names = [
        *PARTITIONED_TABLES,
        "tenants",
        "schedule",
        *(f"{table}_{today:%Y%m%d}" for table in PARTITIONED_TABLES),
    ]
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_SECONDS):
            await ledger.check_server()
            async with ledger.transaction() as tx:
                missing = (await tx.execute(_MISSING_TABLES, {"names": names})).scalars().all()
            if not missing:
                await ledger.check_row_level_security()
    except TimeoutError:
        raise Unavailable(f"The ledger did not answer within {CHECK_TIMEOUT_SECONDS} seconds.") from None
    if missing:
        raise Unavailable(f"{NOT_MIGRATED_MESSAGE} (There is no table {missing[0]}.)")

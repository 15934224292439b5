"""Bring the database to this release's schema, and tell whether it is there."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from delivery.errors import Misconfigured

if TYPE_CHECKING:
    from delivery.ledger.session import Ledger


def upgrade(database_url: str) -> None:
    """Run every migration that is missing, as `alembic upgrade head` does. Blocks; takes turns with others."""
    config = _config()
    config.attributes["database_url"] = database_url
    command.upgrade(config, "head")


async def check(ledger: Ledger) -> None:
    """Raise Misconfigured unless the schema is the one this release was written for, or a later one."""
    known = {revision.revision for revision in ScriptDirectory.from_config(_config()).walk_revisions()}
    try:
        async with ledger.transaction() as tx:
            found = (await tx.execute(text("select version_num from alembic_version"))).scalars().all()
    except ProgrammingError:
        found = []
    heads = ScriptDirectory.from_config(_config()).get_heads()
    # A revision that we have never heard of is a newer release's, which must still serve us.
    if not found or not all(revision in heads or revision not in known for revision in found):
        raise Misconfigured("The ledger's schema is not up to date; run `waybill db upgrade`.")


def _config() -> Config:
    package = importlib.util.find_spec("migrations")
    if package is None or package.origin is None:
        raise Misconfigured("The package `migrations` is not installed beside `delivery`.")
    config = Config()
    config.set_main_option("script_location", str(Path(package.origin).parent).replace("%", "%%"))
    return config

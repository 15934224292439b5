"""Bring the database to this release's schema."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from delivery.domain.errors import Misconfigured


def upgrade(database_url: str) -> None:
    """Run all missing migrations, as `alembic upgrade head` does; concurrent runs take turns."""
    config = _build_config()
    config.attributes["database_url"] = database_url
    command.upgrade(config, "head")


def find_newest_revision() -> str:
    """This release's newest revision."""
    return str(ScriptDirectory.from_config(_build_config()).get_current_head())


def list_revisions() -> frozenset[str]:
    """Every revision that this release knows."""
    return frozenset(one.revision for one in ScriptDirectory.from_config(_build_config()).walk_revisions())


def _build_config() -> Config:
    package = importlib.util.find_spec("migrations")
    if package is None or package.origin is None:
        raise Misconfigured("The package `migrations` is not installed beside `delivery`.")
    config = Config()
    config.set_main_option("script_location", str(Path(package.origin).parent).replace("%", "%%"))
    return config

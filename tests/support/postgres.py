"""Databases for tests: a server of our own or the one of WAYBILL_DATABASE_URL, and fresh databases on it."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql
from sqlalchemy import URL, make_url

from delivery import embedded

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class DatabaseServer:
    """A PostgreSQL on which we may make databases."""

    url: URL = field(repr=False)

    def create(self, *, template: str | None = None) -> str:
        """Make a database, as a copy of another one if named, and return its URL in SQLAlchemy's form."""
        name = f"waybill_test_{secrets.token_hex(6)}"
        copied = sql.SQL(" template {}").format(sql.Identifier(template)) if template else sql.SQL("")
        self._run(sql.SQL("create database {}").format(sql.Identifier(name)) + copied)
        return self.url.set(database=name).render_as_string(hide_password=False)

    def drop(self, url: str) -> None:
        """Remove the database, whoever is still connected to it."""
        name = make_url(url).database or ""
        self._run(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))

    @contextmanager
    def database(self, *, template: str | None = None) -> Iterator[str]:
        """The URL of a database that is dropped at the end."""
        url = self.create(template=template)
        try:
            yield url
        finally:
            self.drop(url)

    def _run(self, statement: sql.Composed) -> None:
        with connect(self.url.render_as_string(hide_password=False)) as connection:
            connection.execute(statement)


def connect(url: str) -> psycopg.Connection:
    """Open a plain psycopg connection, each statement for itself, to a URL in SQLAlchemy's form."""
    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    return psycopg.connect(plain, autocommit=True)


def migrate(url: str) -> None:
    """Bring the database to the newest schema, in a process of its own as a deploy does."""
    done = subprocess.run(
        [sys.executable, "-m", "alembic", "upgrade", "head"],
        cwd=REPOSITORY,
        env=os.environ | {"WAYBILL_DATABASE_URL": url},
        capture_output=True,
        check=False,
        text=True,
    )
    if done.returncode != 0:
        message = f"alembic upgrade head failed:\n{done.stderr}"
        raise RuntimeError(message)


@contextmanager
def make_temporary_folder() -> Iterator[Path]:
    """A folder that every account may enter: pytest's own are closed to the one that runs PostgreSQL."""
    folder = Path(tempfile.mkdtemp(prefix="waybill-test-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def run_database_server(*, durable: bool = False) -> Iterator[DatabaseServer]:
    """The server of WAYBILL_DATABASE_URL, or one that lives as long as this block.

    `durable` is for tests that kill the machine under it; the others are faster without.
    """
    given = os.environ.get("WAYBILL_DATABASE_URL")
    if given:
        yield DatabaseServer(make_url(given).set(drivername="postgresql+psycopg"))
        return
    with (
        make_temporary_folder() as folder,
        embedded.start(folder / "postgres", durable=durable, program_dir=folder / "shelter") as server,
    ):
        yield DatabaseServer(make_url(server.url))

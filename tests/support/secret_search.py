"""Secrets that can be found again, in whatever shape, and what an engine showed, to search for them."""

from __future__ import annotations

import base64
import binascii
import json
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import quote

from tests.support import postgres

if TYPE_CHECKING:
    from collections.abc import Iterator

SHORTEST = 12  # what is shorter is found by chance


@dataclass(frozen=True, slots=True)
class Secret:
    """One secret, and the only places where it may be seen."""

    name: str
    text: str = field(repr=False)
    places: frozenset[str] = frozenset()

    def shapes(self) -> Iterator[tuple[str, bytes]]:
        """How it would look: as it is, escaped, encoded, as PostgreSQL shows bytes, or only its core."""
        assert len(self.text) >= SHORTEST, self.name
        core = self.text.split("_", 1)[1] if self.text.startswith(("wb", "wh")) else self.text
        for what, text in (("itself", self.text), ("without its prefix", core)):
            yield what, text.encode()
            yield f"{what}, escaped for URLs", quote(text, safe="").encode()
            yield f"{what}, as JSON", json.dumps(text)[1:-1].encode()
            yield f"{what}, in hex", text.encode().hex().encode()
            yield f"{what}, in base64", base64.b64encode(text.encode()).rstrip(b"=")
        with suppress(binascii.Error):
            raw = base64.b64decode(core, validate=True)
            yield "its bytes", raw
            yield "its bytes, in hex", raw.hex().encode()


@dataclass(slots=True)
class Evidence:
    """What was shown, by place."""

    shown: dict[str, bytes] = field(default_factory=dict)

    def add(self, place: str, content: str | bytes) -> None:
        """Keep something that was shown there."""
        content = content.encode() if isinstance(content, str) else content
        self.shown[place] = self.shown.get(place, b"") + content + b"\n"

    def leaks(self, secrets: list[Secret]) -> set[str]:
        """Every secret that was seen where it may not be."""
        return {
            f"{secret.name} in {place} ({shape})"
            for secret in secrets
            for shape, looks in secret.shapes()
            for place, content in self.shown.items()
            if place not in secret.places and looks in content
        }

    def unseen(self, secrets: list[Secret]) -> set[str]:
        """Every place where a secret may be seen, and was not: so much for the search itself."""
        return {
            f"{secret.name} in {place}"
            for secret in secrets
            for place in secret.places
            if secret.text.encode() not in self.shown.get(place, b"")
        }


def rows_as_text(url: str) -> Iterator[tuple[str, str]]:
    """Every row of every table of a database, by the table's name."""
    with postgres.connect(url) as connection:
        tables = connection.execute(
            "select c.oid::regclass::text from pg_class c join pg_namespace n on n.oid = c.relnamespace"
            " where c.relkind in ('r', 'p') and not c.relispartition and n.nspname = 'public'"
        ).fetchall()
        for (table,) in tables:
            for (row,) in connection.execute(f"select one::text from {table} one"):  # noqa: S608  its own names
                yield table, row

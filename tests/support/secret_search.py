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

MIN_SECRET_LENGTH = 12  # what is shorter is found by chance


@dataclass(frozen=True, slots=True)
class MarkedSecret:
    """One secret, and the only places where it may be seen."""

    name: str
    text: str = field(repr=False)
    allowed_places: frozenset[str] = frozenset()

    def iter_encodings(self) -> Iterator[tuple[str, bytes]]:
        """The forms to search for: plain, escaped, encoded, as PostgreSQL shows bytes, or only its core."""
        assert len(self.text) >= MIN_SECRET_LENGTH, self.name
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
    """Everything that was shown, by place."""

    captured: dict[str, bytes] = field(default_factory=dict)

    def add(self, place: str, content: str | bytes) -> None:
        """Keep something that was shown there."""
        content = content.encode() if isinstance(content, str) else content
        self.captured[place] = self.captured.get(place, b"") + content + b"\n"

    def find_leaks(self, secrets: list[MarkedSecret]) -> set[str]:
        """Every secret that was seen where it may not be."""
        return {
            f"{secret.name} in {place} ({shape})"
            for secret in secrets
            for shape, looks in secret.iter_encodings()
            for place, content in self.captured.items()
            if place not in secret.allowed_places and looks in content
        }

    def find_unseen(self, secrets: list[MarkedSecret]) -> set[str]:
        """Every place where a secret may be seen, and was not: so much for the search itself."""
        return {
            f"{secret.name} in {place}"
            for secret in secrets
            for place in secret.allowed_places
            if secret.text.encode() not in self.captured.get(place, b"")
        }


def iter_rows_as_text(url: str) -> Iterator[tuple[str, str]]:
    """Every row of every table of a database, by the table's name."""
    with postgres.connect(url) as connection:
        tables = connection.execute(
            "select c.oid::regclass::text from pg_class c join pg_namespace n on n.oid = c.relnamespace"
            " where c.relkind in ('r', 'p') and not c.relispartition and n.nspname = 'public'"
        ).fetchall()
        for (table,) in tables:
            for (row,) in connection.execute(f"select one::text from {table} one"):  # noqa: S608  its own names
                yield table, row

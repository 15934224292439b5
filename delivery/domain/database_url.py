"""The URL of a PostgreSQL database as settings write it. Pure."""

from __future__ import annotations

import re
from typing import Final

_SCHEMES: Final = frozenset({"postgres", "postgresql", "postgresql+psycopg"})
# SQLAlchemy's own grammar (`sqlalchemy.engine.url`), with digits for a port.
_AFTER_SCHEME: Final = re.compile(
    r"(?:[^:/]*(?::[^@]*)?@)?"  # user and password
    r"(?:\[[^/?]+\]|[^/:?]+)?(?::[0-9]*)?"  # host and port
    r"(?:/[^?]*)?(?:\?.*)?"  # database and options
)


def normalise_database_url(url: str) -> str:
    """The form that SQLAlchemy takes, of `postgres://`, `postgresql://` or `postgresql+psycopg://`.

    Raises ValueError.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in _SCHEMES:
        raise ValueError("must begin with postgresql://")
    if _AFTER_SCHEME.fullmatch(rest) is None:
        raise ValueError("cannot be read; its form is postgresql://user:password@host:5432/name")
    return f"postgresql+psycopg://{rest}"
